"""`sweep report` and `sweep import`: what the records say, of one sweep or several, beside other people's systems."""

from __future__ import annotations

__all__ = ["import_command", "report"]

import json
import tempfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from sweeps.cli_options import json_option, workspace_option

if TYPE_CHECKING:
    import pandas as pd

    from analysis.logged import Curves, Logged
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
    with _sources(names, place, from_mlflow=source == "mlflow") as found:
        summary = write_report(
            trials_root=found.root / "trials",
            plan_path=found.plan_path,
            logged=found.logged,
            out=out or _report_folder(names, place),
            opened_by=" ".join(["sweep report", *(names[1:] and names), *(["--from mlflow"] * (source == "mlflow"))]),
        )
    click.echo(json.dumps(summary.as_json()) if as_json else summary.as_text())


def _report_folder(names: Sequence[str], place: Workspace) -> Path:
    folder = place.sweep(names[0]) if len(names) == 1 else place.root / "joined" / "+".join(names)
    return folder / "report"


@dataclass(frozen=True, kw_only=True)
class _Source:
    """What a report is made of: `root` holds `trials/`."""

    root: Path
    plan_path: Path
    logged: Logged


@contextmanager
def _sources(names: Sequence[str], place: Workspace, *, from_mlflow: bool) -> Iterator[_Source]:
    """Files, runs and curves of the sweeps, for the length of the block."""
    from analysis.joined import PlanAt, write_counted, write_joined
    from sweeps.tracking.experiment import tracking_uri
    from sweeps.tracking.links import run_links

    uri = tracking_uri(place.root)
    logs = [place.sweep(name) / "openings.jsonl" for name in names]
    if not from_mlflow:
        plans = [
            PlanAt(plan_path=place.sweep(name) / "plan.json", log=log) for name, log in zip(names, logs, strict=True)
        ]
        plan_path = plans[0].plan_path
        if len(plans) > 1:
            plan_path = write_joined(
                plans, folder=_report_folder(names, place).parent, trials_root=place.root / "trials"
            )
        pages = [run_links(name, place) for name in names]
        logged = _logged(names, pages, [_journal_curves(name, place) for name in names], uri=uri)
        yield _Source(root=place.root, plan_path=plan_path, logged=logged)
        return

    from sweeps.tracking.links import run_pages
    from sweeps.tracking.retrieval import retrieve_sweep

    with tempfile.TemporaryDirectory(prefix="emsweep-report-") as made:
        root = Path(made)
        fetched = [retrieve_sweep(name, root, uri=uri) for name in names]
        plans = [PlanAt(plan_path=one.plan_path, log=log) for one, log in zip(fetched, logs, strict=True)]
        plan_path = plans[0].plan_path
        if len(plans) == 1:
            write_counted(plans, folder=plan_path.parent, trials_root=root / "trials")
        else:
            plan_path = write_joined(plans, folder=root / "joined", trials_root=root / "trials")
        pages = [run_pages(one.runs, uri=uri) for one in fetched]
        logged = _logged(names, pages, [_mlflow_curves(one.runs, uri) for one in fetched], uri=uri)
        yield _Source(root=root, plan_path=plan_path, logged=logged)


def _logged(names: Sequence[str], pages: Sequence[Mapping[str, str]], curves: Sequence[Curves], *, uri: str) -> Logged:
    """Of several sweeps together: what two have of one trial counts once, as the first has it."""
    from analysis.logged import Logged
    from sweeps.tracking.links import shown_by

    def all_curves(trials: Collection[str], metrics: Collection[str]) -> pd.DataFrame:
        import pandas as pd

        read = [own(trials, metrics) for own in curves]
        # Without the empty ones: their columns have no type.
        found = pd.concat([points for points in read if len(points)] or read[:1], ignore_index=True)
        return found.drop_duplicates(["trial_key", "metric", "step"], ignore_index=True)

    command = shown_by(uri)
    return Logged(
        pages={key: page for own in reversed(pages) for key, page in own.items()},
        shown_by=f"{command} {names[0]}" if command and len(names) == 1 else command,
        curves=all_curves,
    )


def _journal_curves(name: str, place: Workspace) -> Curves:
    def read(trials: Collection[str], metrics: Collection[str]) -> pd.DataFrame:
        from sweeps.tracking.curves import read_curves

        return read_curves(place.sweep(name) / "journal.db", metrics, trials=trials)

    return read


def _mlflow_curves(runs: Mapping[str, str], uri: str) -> Curves:
    def read(trials: Collection[str], metrics: Collection[str]) -> pd.DataFrame:
        from sweeps.tracking.curves import fetch_curves

        return fetch_curves(uri, metrics, runs={key: run for key, run in runs.items() if key in trials})

    return read


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
