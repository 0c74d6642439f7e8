"""The `sweep` command. Heavy imports stand inside the commands, so that help answers at once."""

from __future__ import annotations

__all__ = ["main"]

import json
import shlex
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sweeps.cli_corpus import corpus
from sweeps.cli_intensity import intensity
from sweeps.cli_options import json_option, workspace_option

if TYPE_CHECKING:
    from core.store import Workspace
    from sweeps.plan import Plan


class SweepGroup(click.Group):
    """Turns every error made on purpose into one line and exit code 2."""

    def invoke(self, ctx: click.Context) -> Any:
        from core.errors import EmsweepError

        try:
            return super().invoke(ctx)
        except EmsweepError as error:
            click.echo(f"error: {error}", err=True)
            sys.exit(2)


@click.group(cls=SweepGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="emsweep")
def main() -> None:
    """Matched sweeps of emotional masking for speech self-supervised learning.

    Example: sweep launch ems_grid && sweep report ems_grid
    """


override_option = click.option(
    "-o", "--override", "overrides", multiple=True, metavar="KEY=VALUE",
    help="Change a setting, e.g. -o preset=small; an axis with -o axes.KEY=[…].",
)  # fmt: skip


@main.command("list")
@json_option
def list_command(as_json: bool) -> None:
    """List the sweep definitions that ship.

    Example: sweep list
    """
    from sweeps.definition import definition_names, load_definition

    definitions = [load_definition(name) for name in definition_names()]
    if as_json:
        click.echo(json.dumps([{"name": each.name, "description": each.description} for each in definitions]))
        return
    for each in definitions:
        click.echo(f"{each.name:16} {each.description}")


@main.command()
@click.argument("name")
@override_option
@json_option
def show(name: str, overrides: tuple[str, ...], as_json: bool) -> None:
    """Show what the sweep NAME varies, compares and costs in trials, and where its sizes are not the papers'.

    Example: sweep show ems_ablation -o preset=small
    """
    from sweeps.definition import load_definition
    from sweeps.summary import summarise, summary_text

    summary = summarise(load_definition(name, overrides))
    arguments = [name, *(part for override in overrides for part in ("-o", override))]
    click.echo(json.dumps(summary) if as_json else summary_text(summary, arguments))


@main.command()
@click.argument("name")
@override_option
@click.option("-y", "--yes", is_flag=True, help="Do not ask before starting.")
@click.option("--dry-run", is_flag=True, help="Print the plan and stop.")
@click.option("--allow-quarantined", is_flag=True, help="Leave unusable files out of a corpus, and count them.")
@click.option("--allow-incomplete", is_flag=True, help="Accept an IEMOCAP without its published counts; tables say so.")
@click.option("--cpus-per-trial", type=click.FloatRange(min=0, min_open=True), default=1.0, show_default=True)
@click.option("--gpus-per-trial", type=click.FloatRange(min=0), default=0.0, show_default=True)
@click.option("--address", help="Ray cluster to run on; default is a local one.")
@workspace_option
@json_option
def launch(
    name: str, overrides: tuple[str, ...], yes: bool, dry_run: bool, allow_quarantined: bool, allow_incomplete: bool,
    cpus_per_trial: float, gpus_per_trial: float, address: str | None, workspace: Path | None, as_json: bool,
) -> None:  # fmt: skip
    """Run the sweep NAME (one that ships, or a YAML file). Trials already complete are not run again.

    Example: sweep launch ems_ablation -o preset=small -o axes.upstream=[npc] -o seeds=[0,1,2] --yes
    """
    from core.store import Workspace
    from sweeps.definition import accept_corpora, load_definition
    from sweeps.display import Display
    from sweeps.plan import make_plan
    from sweeps.runner import Resources
    from sweeps.runner import launch as run

    place, display = Workspace.at(workspace), Display()
    resources = Resources(cpus=cpus_per_trial, gpus=gpus_per_trial, address=address)
    definition = load_definition(name, overrides)
    definition = accept_corpora(definition, quarantined=allow_quarantined, incomplete=allow_incomplete)
    with display.live():
        plan = make_plan(definition, place, compute=resources.compute_settings(), progress=display.progress)
    if dry_run or not as_json:
        _show_plan(plan, place, as_json=as_json)
    if dry_run:
        return
    if not yes and plan.open_trials(place):
        click.confirm("Start?", abort=True, err=True)
    with display.live():
        result = run(plan, place, resources, display=display)
    if as_json:
        click.echo(json.dumps({"complete": result.complete, "failed": dict(result.failed), "open": result.open}))
        sys.exit(result.exit_code)
    click.echo(
        f"{result.complete} of {len(plan.trials)} trials complete, {len(result.failed)} failed, {result.open} open"
    )
    for key, reason in result.failed.items():
        click.echo(f"failed: {key}: {reason}", err=True)
    if result.open:
        click.echo(f"to continue: sweep {shlex.join(sys.argv[1:])}", err=True)
    elsewhere = f" --workspace {shlex.quote(str(workspace))}" if workspace else ""
    click.echo(f"next: sweep report {definition.name}{elsewhere}; sweep ui {definition.name}{elsewhere}")
    sys.exit(result.exit_code)


def _show_plan(plan: Plan, workspace: Workspace, *, as_json: bool) -> None:
    from sweeps.plan_text import plan_rows, plan_text

    open_keys = {trial.trial_key for trial in plan.open_trials(workspace)}
    if as_json:
        contrasts = [asdict(contrast) for contrast in plan.contrasts]
        rows = plan_rows(plan, open_keys)
        click.echo(json.dumps({"sweep": plan.definition.name, "trials": rows, "contrasts": contrasts}))
    else:
        click.echo(plan_text(plan, open_keys))


@main.command()
@click.argument("name")
@click.option(
    "--out", type=click.Path(path_type=Path, file_okay=False), help="Folder of the report; default sweeps/NAME/report."
)
@workspace_option
@json_option
def report(name: str, out: Path | None, workspace: Path | None, as_json: bool) -> None:
    """Write the UA/WA tables, figures and page of the sweep NAME. Opens the sealed test predictions.

    Example: sweep report ems_grid --out report
    """
    from analysis.report import write_report
    from core.store import Workspace

    place = Workspace.at(workspace)
    folder = out or place.sweep(name) / "report"
    summary = write_report(
        trials_root=place.root / "trials",
        plan_path=place.sweep(name) / "plan.json",
        out=folder,
        opened_by="sweep report",
    )
    click.echo(json.dumps(summary.as_json()) if as_json else summary.as_text())


@main.command()
@click.option("--port", type=click.IntRange(1, 65535), default=5000, show_default=True)
@click.argument("name", required=False)
@workspace_option
def ui(name: str | None, port: int, workspace: Path | None) -> None:
    """Open MLflow on the workspace's trials; NAME links straight to that sweep's runs. Ctrl-C ends it.

    Example: sweep ui ems_grid --port 5001
    """
    from core.store import Workspace
    from sweeps.tracking.server import serve

    serve(Workspace.at(workspace).root, sweep=name, port=port, say=click.echo)


@main.command()
@click.argument("name")
@workspace_option
@json_option
def sync(name: str, workspace: Path | None, as_json: bool) -> None:
    """Send what MLflow has not received yet of the sweep NAME.

    Example: sweep sync ems_grid
    """
    from core.store import Workspace
    from sweeps.tracking.filling import uploader_for

    backlog = uploader_for(name, Workspace.at(workspace)).drain(timeout=600)
    if as_json:
        click.echo(json.dumps({"metrics": backlog.metrics, "artifacts": backlog.artifacts, "runs": backlog.runs}))
    else:
        click.echo(f"unsent: {backlog.metrics} metrics, {backlog.artifacts} artifacts, {backlog.runs} runs")
    sys.exit(0 if backlog.empty else 1)


main.add_command(corpus)
main.add_command(intensity)
