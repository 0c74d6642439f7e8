"""`sweep report` and `sweep import`: what the records say, of one sweep or several, beside other people's systems."""

from __future__ import annotations

__all__ = ["import_command", "report"]

import json
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from sweeps.cli_options import json_option, workspace_option

if TYPE_CHECKING:
    from core.store import Workspace


@click.command()
@click.argument("names", metavar="NAME...", nargs=-1, required=True)
@click.option(
    "--out", type=click.Path(path_type=Path, file_okay=False),
    help="Folder of the report; default sweeps/NAME/report, of several sweeps joined/NAME+NAME/report.",
)  # fmt: skip
@click.option(
    "--from", "source", type=click.Choice(["workspace", "mlflow"]), default="workspace", show_default=True,
    help="Where plan and records are read; mlflow: from $MLFLOW_TRACKING_URI, else the workspace's mlflow.db, alone.",
)  # fmt: skip
@workspace_option
@json_option
def report(names: tuple[str, ...], out: Path | None, source: str, workspace: Path | None, as_json: bool) -> None:
    """Write the UA/WA tables, figures and page of the sweep NAME. Opens the sealed test predictions.

    Several names make one report: a trial that several sweeps have counts once, and arms that have only their name in
    common are told apart by the sweep's. The look at the test part counts with each sweep, in this workspace also when
    the records come from MLflow.

    Example: sweep report ems_grid --out report
    """
    from analysis.report import write_report
    from core.store import Workspace

    place = Workspace.at(workspace)
    with _sources(names, place, from_mlflow=source == "mlflow") as (root, plan_path):
        summary = write_report(
            trials_root=root / "trials",
            plan_path=plan_path,
            out=out or _report_folder(names, place),
            opened_by=" ".join(["sweep report", *(names[1:] and names), *(["--from mlflow"] * (source == "mlflow"))]),
        )
    click.echo(json.dumps(summary.as_json()) if as_json else summary.as_text())


def _report_folder(names: Sequence[str], place: Workspace) -> Path:
    folder = place.sweep(names[0]) if len(names) == 1 else place.root / "joined" / "+".join(names)
    return folder / "report"


@contextmanager
def _sources(names: Sequence[str], place: Workspace, *, from_mlflow: bool) -> Iterator[tuple[Path, Path]]:
    """The folder that holds `trials/` and the path of the plan, for the length of the block."""
    from analysis.joined import PlanAt, write_counted, write_joined

    logs = [place.sweep(name) / "openings.jsonl" for name in names]
    if not from_mlflow:
        plans = [
            PlanAt(plan_path=place.sweep(name) / "plan.json", log=log) for name, log in zip(names, logs, strict=True)
        ]
        if len(plans) == 1:
            yield place.root, plans[0].plan_path
        else:
            folder = _report_folder(names, place).parent
            yield place.root, write_joined(plans, folder=folder, trials_root=place.root / "trials")
        return

    from sweeps.tracking.experiment import tracking_uri
    from sweeps.tracking.retrieval import retrieve_sweep

    uri = tracking_uri(place.root)
    with tempfile.TemporaryDirectory(prefix="emsweep-report-") as made:
        root = Path(made)
        plans = [
            PlanAt(plan_path=retrieve_sweep(name, root, uri=uri), log=log)
            for name, log in zip(names, logs, strict=True)
        ]
        if len(plans) == 1:
            write_counted(plans, folder=plans[0].plan_path.parent, trials_root=root / "trials")
            yield root, plans[0].plan_path
        else:
            yield root, write_joined(plans, folder=root / "joined", trials_root=root / "trials")


@click.command("import")
@click.argument("predictions", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--name", required=True, help="What the system is called in the tables.")
@click.option("--sweep", "sweep_name", help="The sweep it is compared in; default the only one of the workspace.")
@click.option(
    "--against", multiple=True, metavar="ARM",
    help="An arm to compare with it, by its name in the tables (several: repeat); `all`: every arm that is neither a "
    "twin nor a control. Default: no comparison, a row only.",
)  # fmt: skip
@click.option("--replace", is_flag=True, help="Take the place of what was imported under this name.")
@workspace_option
@json_option
def import_command(
    predictions: Path, name: str, sweep_name: str | None, against: tuple[str, ...], replace: bool,
    workspace: Path | None, as_json: bool,
) -> None:  # fmt: skip
    """Put another system's test predictions, a CSV file, into the reports of a sweep: a row, and a twin for its arms.

    Columns: utterance, fold, speaker, label, and predicted or score_CLASS for every class; seed for several runs. They
    must be the sweep's test part, row for row. Answers of the sweep's own trials are not read: nothing is opened.

    Example: sweep import wav2vec2.csv --name wav2vec2 --sweep ems_grid --against "ems r0.15 s7 t1"
    """
    from analysis.importing import import_predictions
    from core.store import Workspace

    place = Workspace.at(workspace)
    chosen = sweep_name or _only_sweep(place)
    plan_path = place.sweep(chosen) / "plan.json"
    system = import_predictions(
        predictions, name=name, plan_path=plan_path, trials_root=place.root / "trials", against=against, replace=replace
    )
    n = next(iter(system.runs.values()))
    found = {
        "name": name,
        "sweep": chosen,
        "runs": sorted(system.runs) if system.has_seeds else None,
        "utterances": sum(entry.n for entry in n.folds),
        "folds": len(n.folds),
        "against": list(system.against),
    }
    if as_json:
        click.echo(json.dumps(found))
        return
    runs = f", seeds {', '.join(map(str, sorted(system.runs)))}" if system.has_seeds else ""
    click.echo(
        f"{name}: {found['utterances']} utterances in {found['folds']} folds{runs}, as sweep {chosen} was tested"
    )
    click.echo(f"next: sweep report {chosen}")


def _only_sweep(place: Workspace) -> str:
    from core.errors import BadInputError
    from sweeps.plan_file import known_sweeps

    names = known_sweeps(place)
    if len(names) != 1:
        raise BadInputError(f"--sweep: needed, {place.root} holds {', '.join(names) or 'no sweep'}")
    return names[0]
