"""`sweep export` and `sweep predict`: a result of a sweep as a model, and the model at work."""

from __future__ import annotations

__all__ = ["export", "predict"]

import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sweeps.cli_options import json_option, workspace_option

if TYPE_CHECKING:
    from core.exported import ExportedConfig
    from core.predicting import Prediction


@click.command()
@click.argument("arm")
@click.option(
    "--out", required=True, metavar="DIR", type=click.Path(path_type=Path), help="A folder that is not there yet."
)
@click.option("--no-register", is_flag=True, help="Leave MLflow alone; by default the model enters its registry.")
@workspace_option
@json_option
def export(arm: str, out: Path, no_register: bool, workspace: Path | None, as_json: bool) -> None:
    """Write the model of an ARM, picked by validation, to a folder: weights, config and a card with its scores.

    ARM is SWEEP:ARM as in `sweep explain`; scores are those of the sweep's last report. The seed with the best mean
    validation is taken, of it the fold with the best. It is tried first: a model that does not give the predictions
    on record is not exported. MLflow's model registry gets the same files, as a version that belongs to the trial's
    run.

    Example: sweep export "ems_grid:ems r0.15 s7 t1" --out ems-model
    """
    from analysis.reported import reported_arm
    from core.packaging import choose
    from core.records import read_record
    from core.store import Workspace
    from sweeps.display import Display
    from sweeps.exporting import export_model
    from sweeps.model_card import ReportedScores

    place, display = Workspace.at(workspace), Display()
    found = reported_arm(arm, sweeps_root=place.root / "sweeps", trials_root=place.root / "trials")
    records = [record for key in found.trial_keys if (record := read_record(place.trial(key))) is not None]
    scores = ReportedScores(
        sweep=found.sweep, arm=found.arm, lines=found.scores(), n_trials=found.results["n_trials"],
        n_expected=found.results["n_expected"], opening=found.opening,
    )  # fmt: skip
    with display.live():
        made = export_model(
            choose(records), scores, place, out=out.absolute(), register=not no_register, progress=display.progress
        )
    click.echo(json.dumps(made.as_json()) if as_json else made.as_text())


@click.command()
@click.argument("model", metavar="DIR", type=click.Path(path_type=Path))
@click.argument("audio", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--frames", is_flag=True, help="One row per position of the model's time grid, not per file.")
@click.option("--csv", "csv_path", metavar="OUT", type=click.Path(path_type=Path, dir_okay=False), help="Write a CSV.")
@json_option
def predict(model: Path, audio: tuple[Path, ...], frames: bool, csv_path: Path | None, as_json: bool) -> None:
    """Score AUDIO, files or folders of them, with the model that `sweep export` wrote to DIR.

    Scores of classes are probabilities. With --frames also `value_CLASS`, logits: their mean over a file's frames is
    the file's, weighted by `weight` where the model attends to some more. Exit code 0: all files scored, 3: some could
    not be used (one line each), 1: none could.

    Example: sweep predict ems-model recordings/ --csv emotions.csv
    """
    from core.errors import BadInputError
    from core.exported import load_package, predictor_of
    from core.predicting import Prediction, predict_files
    from core.store import write_atomically

    if as_json and csv_path:
        raise click.UsageError("--json and --csv: one of them")
    package = load_package(model)
    if frames and package.config.hop_s is None:
        raise BadInputError(f"--frames: the model in {model} ({package.config.system}) scores whole recordings only")
    scored: list[Prediction] = []
    unusable: list[dict[str, str]] = []
    for found in predict_files(predictor_of(package), audio):
        if isinstance(found, Prediction):
            scored.append(found)
        else:
            unusable.append({"file": str(found.path), "reason": found.reason})
            click.echo(f"error: {found.reason}", err=True)
    rows = [row for each in scored for row in (_frame_rows if frames else _file_rows)(each, package.config)]
    if as_json:
        click.echo(json.dumps({"model": package.config.model_dump(mode="json"), "rows": rows, "unusable": unusable}))
    elif csv_path:
        try:
            write_atomically(csv_path, _csv(rows).encode())
        except OSError as error:
            raise BadInputError(f"--csv {csv_path}: cannot be written ({error.strerror})") from error
        click.echo(f"written: {csv_path}, {len(rows)} rows")
    elif rows:
        click.echo(_text(rows))
    sys.exit(0 if not unusable else 3 if scored else 1)


def _file_rows(found: Prediction, config: ExportedConfig) -> Iterator[dict[str, Any]]:
    yield {
        "file": str(found.path),
        "duration_s": round(found.duration_s, 3),
        **_scores(config, found.answer.scores, found.answer.values_C),
    }


def _frame_rows(found: Prediction, config: ExportedConfig) -> Iterator[dict[str, Any]]:
    scores_PC, values_PC = found.answer.frame_scores, found.answer.frame_values_PC
    assert scores_PC is not None
    assert values_PC is not None
    assert config.hop_s is not None
    weights_P = found.answer.weights_P
    for place, (scores_C, values_C) in enumerate(zip(scores_PC, values_PC, strict=True)):
        yield {
            "file": str(found.path),
            "start_s": round(place * config.hop_s, 4),
            "end_s": round(min((place + 1) * config.hop_s, found.duration_s), 4),
            **({} if weights_P is None else {"weight": float(weights_P[place])}),
            **_scores(config, scores_C, values_C),
        }


def _scores(config: ExportedConfig, scores_C: Any, values_C: Any) -> dict[str, Any]:
    if config.kind == "dimensions":
        return {name: float(value) for name, value in zip(config.outputs, values_C, strict=True)}
    return {
        "predicted": config.outputs[int(scores_C.argmax())],
        **{f"score_{name}": float(score) for name, score in zip(config.outputs, scores_C, strict=True)},
        **{f"value_{name}": float(value) for name, value in zip(config.outputs, values_C, strict=True)},
    }


def _csv(rows: Sequence[dict[str, Any]]) -> str:
    import csv
    import io

    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(rows[0]) if rows else ["file"], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _text(rows: Sequence[dict[str, Any]]) -> str:
    """A table; logits are left to JSON and CSV."""
    names = [name for name in rows[0] if not name.startswith("value_")]
    cells = [[name.removeprefix("score_") for name in names]]
    cells += [
        [f"{row[name]:.3f}" if isinstance(row[name], float) else str(row[name]) for name in names] for row in rows
    ]
    widths = [max(len(row[place]) for row in cells) for place in range(len(names))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells
    )
