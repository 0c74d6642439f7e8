"""`sweep diff`, `sweep prune`, `sweep replay`: looking back at what was run, and freeing what nobody needs."""

from __future__ import annotations

__all__ = ["diff", "prune", "replay"]

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from sweeps.cli_options import json_option, workspace_option

if TYPE_CHECKING:
    from analysis.diff import Side
    from core.replay import Replay
    from core.store import Workspace


@click.command()
@click.argument("a", metavar="A")
@click.argument("b", metavar="B")
@workspace_option
@json_option
def diff(a: str, b: str, workspace: Path | None, as_json: bool) -> None:
    """Show two launched sweeps side by side: definition, environment, and results of the arms both have.

    A and B are names, or WORKSPACE:NAME for a sweep of another workspace. Differences are B − A on validation, paired
    over seeds and folds; the test part is not opened.

    Example: sweep diff ems_grid ../older/emsweep-workspace:ems_grid
    """
    from analysis.diff import diff_sweeps
    from analysis.diff_text import diff_text
    from core.store import Workspace

    place = Workspace.at(workspace)
    found = diff_sweeps(_side(a, place), _side(b, place))
    click.echo(json.dumps(found.as_json()) if as_json else diff_text(found))


def _side(text: str, here: Workspace) -> Side:
    from analysis.diff import Side

    folder, _, name = text.rpartition(":")
    return Side(name=name, root=Path(folder).absolute() if folder else here.root)


@click.command()
@click.option("-y", "--yes", is_flag=True, help="Do not ask before removing.")
@click.option("--trials", is_flag=True, help="Remove records and predictions of trials in no plan too: results.")
@workspace_option
@json_option
def prune(yes: bool, trials: bool, workspace: Path | None, as_json: bool) -> None:
    """Show what no sweep of the workspace refers to, and remove it when told to.

    With --json and without --yes nothing is removed. What a running sweep may use stays.

    Example: sweep prune --trials
    """
    from core.store import Workspace
    from sweeps.pruning import find_prunable, megabytes, prune_text
    from sweeps.pruning import prune as remove

    place = Workspace.at(workspace)
    found = find_prunable(place)
    chosen = found.chosen(trials=trials)
    if not as_json:
        click.echo(prune_text(found, trials=trials))
    if chosen and not yes and not as_json:
        click.confirm("Remove?", abort=True, err=True)
    pruned = remove(place, chosen) if yes or not as_json else None
    if as_json:
        click.echo(json.dumps(found.as_json() | {"pruned": pruned.as_json() if pruned else None}))
    elif pruned and chosen:
        left = f"; {len(pruned.in_use)} in use by now and left" if pruned.in_use else ""
        click.echo(f"{pruned.removed} removed, {megabytes(pruned.freed)} freed{left}")


@click.command()
@click.argument("trial")
@click.option(
    "--from-scratch", is_flag=True, help="Make features and intensity anew too, not only upstreams and probe."
)
@click.option("--keep", is_flag=True, help="Keep what the replay made, in replays/<trial key>.")
@workspace_option
@json_option
def replay(trial: str, from_scratch: bool, keep: bool, workspace: Path | None, as_json: bool) -> None:
    """Run a complete trial again from its record and say whether it comes out the same, and what has changed since.

    TRIAL is a trial key, the beginning of one, or SWEEP:ARM:SEED. Exit code 0: bit-equal or within tolerance, 1:
    different, 2: it cannot be replayed.

    Example: sweep replay "ems_grid:ems r0.15 s7 t1:0"
    """
    from core.replay import replay_trial
    from core.store import Workspace
    from sweeps.display import Display
    from sweeps.references import find_trial

    place, display = Workspace.at(workspace), Display()
    key = find_trial(trial, place)
    with display.live():
        found = replay_trial(key, place, from_scratch=from_scratch, keep=keep, progress=display.progress)
    click.echo(json.dumps(found.as_json()) if as_json else _replay_text(found))
    sys.exit(1 if found.verdict == "different" else 0)


def _replay_text(found: Replay) -> str:
    lines = [f"trial {found.trial_key} ({found.arm}, seed {found.seed}), run {found.then}: {found.verdict}"]
    lines += [f"  {line}" for line in _how(found)]
    lines.append("what is not as it was" if found.changes else "nothing recorded of it has changed")
    width = max((len(change.what) for change in found.changes), default=0)
    lines += [f"  {change.what:{width}}  {change.then} → {change.now}" for change in found.changes]
    if found.verdict == "different" and not found.changes:
        lines.append("  so its record or predictions were changed afterwards, or it depends on something not recorded")
    lines.append(f"taken from the store, not made anew: {', '.join(found.shared) or 'nothing'}")
    if found.folder:
        lines.append(f"kept: {found.folder}")
    return "\n".join(lines)


def _how(found: Replay) -> list[str]:
    from core.replay import TOLERANCE

    comparison = found.comparison
    if comparison is None:
        return [f"it does not end well now: {found.failure}"]
    lines = [
        f"{comparison.rows} predictions; largest difference of a score {comparison.score:.3g} (tolerance {TOLERANCE:g})"
    ]
    if comparison.unmatched:
        lines.append(f"{comparison.unmatched} predictions are of utterances or folds that only one run has")
    if comparison.reclassified:
        lines.append(f"{comparison.reclassified} predictions name another class")
    if comparison.relabelled:
        lines.append(f"{comparison.relabelled} utterances have another label")
    if not comparison.metrics_equal:
        lines.append("metrics differ")
    return lines
