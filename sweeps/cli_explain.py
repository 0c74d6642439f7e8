"""`sweep explain`: from a number in a report back to what it was made of."""

from __future__ import annotations

__all__ = ["explain"]

import json
from pathlib import Path

import click

from sweeps.cli_options import json_option, workspace_option


@click.command()
@click.argument("cell")
@click.option("--against", help="The other arm of a difference; default is the twin.")
@workspace_option
@json_option
def explain(cell: str, against: str | None, workspace: Path | None, as_json: bool) -> None:
    """Show the trials, commit, settings, corpora, code and MLflow runs behind a CELL of the last report.

    CELL is SWEEP:ARM or SWEEP:ARM:COLUMN; columns are those of results.csv (ua by default), and `difference`,
    `ua-difference`, `wa-difference` for an arm less its twin. Each trial has the command that runs it again.

    Example: sweep explain "ems_grid:ems r0.15 s7 t1:difference"
    """
    from analysis.explain import explain_cell
    from core.store import Workspace
    from sweeps.tracking.links import run_links

    place = Workspace.at(workspace)
    found = explain_cell(cell, sweeps_root=place.root / "sweeps", trials_root=place.root / "trials", against=against)
    runs = run_links(found.sweep, place)
    click.echo(json.dumps(found.as_json() | {"runs": runs}) if as_json else found.as_text(runs))
