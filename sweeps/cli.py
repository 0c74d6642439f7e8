"""The `sweep` command. Heavy imports stand inside the commands, so that help answers at once."""

from __future__ import annotations

__all__ = ["main"]

import json
import sys
from pathlib import Path
from typing import Any

import click

from sweeps.cli_analysis import import_command, report
from sweeps.cli_corpus import corpus
from sweeps.cli_explain import explain
from sweeps.cli_export import export, predict
from sweeps.cli_intensity import intensity
from sweeps.cli_launch import estimate, launch, resume, retry
from sweeps.cli_options import json_option, override_option, workspace_option
from sweeps.cli_running import status, stop, watch
from sweeps.cli_upkeep import diff, prune, replay


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


COMMANDS = (
    corpus, intensity, launch, estimate, resume, retry, status, watch, stop, report, explain, import_command, export,
    predict, diff, prune, replay,
)  # fmt: skip
for command in COMMANDS:
    main.add_command(command)
