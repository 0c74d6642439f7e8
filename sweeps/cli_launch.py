"""Starting, continuing and repeating sweeps: `sweep launch`, `resume`, `retry`, `estimate`."""

from __future__ import annotations

__all__ = ["estimate", "launch", "resume", "retry"]

import json
import os
import shlex
import sys
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import click

from core.errors import BadInputError, FailureKind
from sweeps.cli_options import Command, json_option, override_option, workspace_option

if TYPE_CHECKING:
    from core.store import Workspace
    from sweeps.estimate import Estimate
    from sweeps.launching import Launching
    from sweeps.plan import Plan, PlannedTrial


def _launch_options(command: Command) -> Command:
    for option in (
        click.option("--address", help="Ray cluster to run on; default is a local one."),
        click.option("--gpus-per-trial", type=click.FloatRange(min=0), default=0.0, show_default=True),
        click.option("--cpus-per-trial", type=click.FloatRange(min=0, min_open=True), default=1.0, show_default=True),
        click.option(
            "--allow-incomplete", is_flag=True, help="Accept an IEMOCAP without its published counts; tables say so."
        ),
        click.option("--allow-quarantined", is_flag=True, help="Leave unusable files out of a corpus, and count them."),
        override_option,
    ):
        command = option(command)
    return command


def _run_options(command: Command) -> Command:
    for option in (
        click.option("--no-estimate", is_flag=True, help="Start without measuring what it will cost."),
        click.option("--budget", help="Refuse to start what is estimated to cost more, e.g. 2h, 90m; of CPU, or GPU."),
        click.option("-y", "--yes", is_flag=True, help="Do not ask before starting."),
    ):
        command = option(command)
    return command


@click.command()
@click.argument("name")
@_launch_options
@_run_options
@click.option("--dry-run", is_flag=True, help="Print the plan and stop.")
@workspace_option
@json_option
def launch(
    name: str, overrides: tuple[str, ...], yes: bool, dry_run: bool, allow_quarantined: bool, allow_incomplete: bool,
    cpus_per_trial: float, gpus_per_trial: float, address: str | None, budget: str | None, no_estimate: bool,
    workspace: Path | None, as_json: bool,
) -> None:  # fmt: skip
    """Run the sweep NAME (one that ships, or a YAML file), or what is left of it.

    An edited definition changes the sweep in place: trials that are complete are not run again, new ones are, and those
    it no longer has leave the report.

    Example: sweep launch ems_ablation -o preset=small -o axes.upstream=[npc] -o seeds=[0,1,2] --yes
    """
    from core.store import Workspace

    place = Workspace.at(workspace)
    launching = _launching(
        place, name, overrides, quarantined=allow_quarantined, incomplete=allow_incomplete, cpus=cpus_per_trial,
        gpus=gpus_per_trial, address=address,
    )  # fmt: skip
    _go(
        launching, place, yes=yes, dry_run=dry_run, budget=budget, estimated=not (no_estimate or dry_run),
        as_json=as_json,
    )  # fmt: skip


@click.command()
@click.argument("name")
@_launch_options
@workspace_option
@json_option
def estimate(
    name: str, overrides: tuple[str, ...], allow_quarantined: bool, allow_incomplete: bool, cpus_per_trial: float,
    gpus_per_trial: float, address: str | None, workspace: Path | None, as_json: bool,
) -> None:  # fmt: skip
    """Measure what the sweep NAME, or what is left of it, will cost: hours, wall time, disk, memory.

    Runs a few steps of each kind of trial on this machine, as many at a time as the sweep would.

    Example: sweep estimate ems_grid -o preset=small
    """
    from core.store import Workspace
    from sweeps.display import Display

    place, display = Workspace.at(workspace), Display()
    launching = _launching(
        place, name, overrides, quarantined=allow_quarantined, incomplete=allow_incomplete, cpus=cpus_per_trial,
        gpus=gpus_per_trial, address=address,
    )  # fmt: skip
    with display.live():
        found = _estimate(launching, place, display.progress)
    click.echo(json.dumps(found.as_json()) if as_json else found.as_text())


@click.command()
@click.argument("name")
@_run_options
@workspace_option
@json_option
def resume(name: str, yes: bool, budget: str | None, no_estimate: bool, workspace: Path | None, as_json: bool) -> None:
    """Continue the sweep NAME as it was last launched: after a stop, a crash, a reboot.

    Example: sweep resume ems_grid --yes
    """
    from core.store import Workspace
    from sweeps.launching import Launching

    place = Workspace.at(workspace)
    launching = Launching.read(name, place)
    _go(launching, place, yes=yes, dry_run=False, budget=budget, estimated=not no_estimate, as_json=as_json)


@click.command()
@click.argument("name")
@click.option(
    "--reason", "reasons", type=click.Choice(get_args(FailureKind)), multiple=True,
    help="Only what failed for this; may be given again.",
)  # fmt: skip
@_run_options
@workspace_option
@json_option
def retry(
    name: str, reasons: tuple[FailureKind, ...], yes: bool, budget: str | None, no_estimate: bool,
    workspace: Path | None, as_json: bool,
) -> None:  # fmt: skip
    """Run the failed trials of the sweep NAME once more, and whatever else is left of it.

    Example: sweep retry ems_grid --reason memory --reason lost-worker
    """
    from core.store import Workspace
    from sweeps.launching import Launching

    place = Workspace.at(workspace)
    _go(
        Launching.read(name, place), place, yes=yes, dry_run=False, budget=budget, estimated=not no_estimate,
        as_json=as_json, retrying=reasons or get_args(FailureKind),
    )  # fmt: skip


def _launching(
    workspace: Workspace, name: str, overrides: tuple[str, ...], *, quarantined: bool, incomplete: bool, cpus: float,
    gpus: float, address: str | None,
) -> Launching:  # fmt: skip
    from sweeps.cluster import Resources
    from sweeps.definition import accept_corpora, load_definition
    from sweeps.launching import Launching

    definition = accept_corpora(load_definition(name, overrides), quarantined=quarantined, incomplete=incomplete)
    resources = Resources(cpus=cpus, gpus=gpus, address=address)
    return Launching.of(definition, resources, workspace)


def _go(
    launching: Launching, workspace: Workspace, *, yes: bool, dry_run: bool, budget: str | None, estimated: bool,
    as_json: bool, retrying: tuple[FailureKind, ...] = (),
) -> None:  # fmt: skip
    from core.progress import silent
    from sweeps.display import Display
    from sweeps.estimate import parse_budget, refuse
    from sweeps.launching import failed_trials
    from sweeps.runner import launch as run

    hours = parse_budget(budget) if budget is not None else None
    display, name = Display(), launching.definition.name
    with display.live():
        # Looked at when it was launched: quick, and an error stands alone.
        plan = launching.known_plan(workspace, progress=silent if retrying else display.progress)
    again = failed_trials(plan, workspace, kinds=retrying)
    if retrying and not again:
        raise BadInputError(f"sweep {name!r}: no trial has failed" + _for(retrying))
    if dry_run or not as_json:
        _show_plan(plan, workspace, as_json=as_json)
    if dry_run:
        return
    if again and not as_json:
        click.echo(f"{len(again)} failed trials to run again")
    anything = bool(again or plan.open_trials(workspace)) or launching.grows
    if anything and (estimated or hours is not None):
        with display.live():
            found = _estimate(launching, workspace, display.progress, again=again)
        if not as_json:
            click.echo(found.as_text())
        refuse(found, workspace=workspace, budget_hours=hours)
    if anything and not yes:
        click.confirm("Start?", abort=True, err=True)
    with display.live():
        result = run(launching, workspace, display=display, retrying=retrying, anything_open=anything)
    if as_json:
        click.echo(json.dumps(result.as_json()))
        sys.exit(result.exit_code)
    click.echo(result.as_text())
    elsewhere = _elsewhere(workspace)
    for key, reason in result.failed.items():
        click.echo(f"failed: {key}: {reason}", err=True)
    if result.failed:
        click.echo(f"to try again: sweep retry {name}{elsewhere}", err=True)
    if result.open:
        click.echo(f"to continue: sweep resume {name}{elsewhere}", err=True)
    click.echo(f"next: sweep report {name}{elsewhere}; sweep ui {name}{elsewhere}")
    sys.exit(result.exit_code)


def _for(reasons: tuple[FailureKind, ...]) -> str:
    return "" if reasons == get_args(FailureKind) else f" for {', '.join(reasons)}"


def _elsewhere(workspace: Workspace) -> str:
    """What a command must be told to find this workspace."""
    from core.store import WORKSPACE_VARIABLE

    default = Path(os.environ.get(WORKSPACE_VARIABLE) or "emsweep-workspace").absolute()
    return "" if workspace.root == default else f" --workspace {shlex.quote(str(workspace.root))}"


def _estimate(
    launching: Launching, workspace: Workspace, progress: Callable[[str, int, int], None], *,
    again: tuple[PlannedTrial, ...] = (),
) -> Estimate:  # fmt: skip
    """`again`: failed trials that are to run once more."""
    from sweeps.cluster import connected, slots
    from sweeps.estimate import estimate as measure
    from sweeps.launching import sample_plan

    resources = launching.resources
    with connected(resources) if resources.address else nullcontext():
        at_a_time = slots(resources)
    plan = sample_plan(launching.planner(workspace, progress=progress))
    return measure(
        plan,
        workspace,
        open_trials=(*again, *plan.open_trials(workspace)),
        slots=at_a_time,
        cpus=resources.cpus,
        gpus=resources.gpus,
        progress=progress,
    )


def _show_plan(plan: Plan, workspace: Workspace, *, as_json: bool) -> None:
    from sweeps.plan_text import plan_rows, plan_text

    open_keys = {trial.trial_key for trial in plan.open_trials(workspace)}
    if as_json:
        contrasts: list[dict[str, Any]] = [asdict(contrast) for contrast in plan.contrasts]
        rows = plan_rows(plan, open_keys)
        click.echo(json.dumps({"sweep": plan.definition.name, "trials": rows, "contrasts": contrasts}))
    else:
        click.echo(plan_text(plan, open_keys))
