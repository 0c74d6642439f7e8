"""`sweep import`: a file of another system's answers, held against the sweep's test part, becomes an imported system.

The labels of the test part are read for that, the answers of the sweep's trials are not: this opens nothing.
"""

from __future__ import annotations

__all__ = ["ALIASES", "import_predictions"]

import hashlib
import re
import shutil
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd

from analysis.columns import PredictionsFile
from analysis.imported import EVERY_ARM, NAME, ImportedSystem, imported_folder
from analysis.load import Sweep, load_sweep
from core.errors import BadInputError
from core.metrics import confusion, macro_f1, ua, wa
from core.records import FoldMetrics, MetricsEntry, Record

ALIASES: dict[str, tuple[str, ...]] = {
    "utterance": ("utterance", "utt", "utt_id", "file", "filename"),
    "fold": ("fold",),
    "speaker": ("speaker", "spk", "speaker_id"),
    "label": ("label", "emotion", "true", "target"),
    "predicted": ("predicted", "prediction", "pred"),
    "seed": ("seed",),
}
"""Column → names it may have in the file, in any case. A class's score is in `score_<class>` or `<class>`."""
ASKED = ["utterance", "fold", "speaker", "label"]


def import_predictions(
    path: Path, *, name: str, plan_path: Path, trials_root: Path, against: Sequence[str] = (), replace: bool = False
) -> ImportedSystem:
    """Check a CSV file of test predictions and keep it beside the plan as the imported system `name`.

    Columns: `ALIASES`; `predicted` or a score for every class (the highest answers, the first class on ties), `seed`
    if there are several runs. `against`: names of the arms to compare with it, or `all`.

    Raises BadInputError, one line, for a file that cannot be read, a column that is absent or there twice, an empty
    cell, an utterance twice in a fold, a class the sweep does not have, a score that is no number, other utterances,
    folds, speakers or labels than the sweep's test part (the first of them, and how many), an arm the sweep does not
    have, a name that is taken, and a sweep without a complete trial.
    """
    sweep = load_sweep(plan_path=plan_path, trials_root=trials_root)
    record = next((record for arm in sweep.planned for record in arm.records), None)
    if record is None:
        raise BadInputError(f"sweep {sweep.plan.sweep!r}: no trial is complete yet, so its test part is not known")
    folder = imported_folder(plan_path) / name
    _check_name(name, sweep, folder, replace=replace)
    keys = _arm_keys(against, sweep, own=name)
    rows = _read_rows(path)
    has_seeds = "seed" in rows.columns
    rows = _answered(rows, record.corpus.classes, path.name)
    test = _test_part(sweep, record)
    first_seed = sweep.plan.trials[0].seed
    seeds = sorted(rows["seed"].unique().tolist()) if has_seeds else []
    groups = {seed: rows[rows["seed"] == seed] for seed in seeds} or {first_seed: rows}
    runs = {}
    for seed, run in groups.items():
        _check_questions(run, test, f"{path.name}, seed {seed}" if has_seeds else path.name)
        runs[seed] = _metrics(run, record)
    system = ImportedSystem(
        name=name,
        source=path.name,
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
        imported=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        against=keys,
        corpus=record.corpus,
        folds=record.protocol.folds,
        has_seeds=has_seeds,
        runs=runs,
    )
    _write(system, groups, folder)
    return system


def _check_name(name: str, sweep: Sweep, folder: Path, *, replace: bool) -> None:
    if not re.fullmatch(NAME, name):
        raise BadInputError(f"name {name!r}: must be at most 60 letters, digits and _.-, a letter or digit first")
    if any(arm.name == name for arm in sweep.planned):
        raise BadInputError(f"name {name!r}: an arm of sweep {sweep.plan.sweep!r} is called so")
    if folder.exists() and not replace:
        raise BadInputError(
            f"name {name!r}: imported before into sweep {sweep.plan.sweep!r}; --replace takes its place"
        )


def _arm_keys(against: Sequence[str], sweep: Sweep, *, own: str) -> tuple[str, ...]:
    keys = []
    for asked in against:
        named = [arm.key for arm in sweep.arms.values() if asked in (arm.name, arm.key) and arm.name != own]
        if asked != EVERY_ARM and not named:
            names = ", ".join(arm.name for arm in sweep.arms.values())
            raise BadInputError(f"against {asked!r}: no arm of sweep {sweep.plan.sweep!r} ({names}), nor {EVERY_ARM!r}")
        keys += [EVERY_ARM] if asked == EVERY_ARM else named
    return tuple(dict.fromkeys(keys))


def _read_rows(path: Path) -> pd.DataFrame:
    """The file with its columns by their own names, all of them text."""
    try:
        rows = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8-sig")
    except OSError as error:
        raise BadInputError(f"{path}: cannot be read ({error.strerror})") from error
    except (ValueError, pd.errors.ParserError) as error:
        raise BadInputError(f"{path}: no CSV file ({str(error).splitlines()[0]})") from error
    if rows.empty:
        raise BadInputError(f"{path.name}: has no rows")
    return rows.rename(columns=_names([str(column) for column in rows.columns], path.name))


def _names(columns: list[str], where: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for wanted, aliases in ALIASES.items():
        named = [column for column in columns if column.strip().lower() in aliases]
        if len(named) > 1:
            raise BadInputError(f"{where}: columns {named[0]!r} and {named[1]!r} both are the {wanted}")
        if not named and wanted in ASKED:
            accepted = " or ".join(map(repr, aliases))
            raise BadInputError(f"{where}: no column for the {wanted} (named {accepted})")
        found |= dict.fromkeys(named, wanted)
    return found


def _answered(rows: pd.DataFrame, classes: tuple[str, ...], where: str) -> pd.DataFrame:
    """Checked cell by cell; with `predicted` from the scores where it is not given, and scores as `score_<class>`."""
    kept = [*ASKED, *(name for name in ("seed", "predicted") if name in rows.columns)]
    for name in kept:
        empty = rows[name].str.strip() == ""
        if empty.any():
            line = int(np.argmax(empty.to_numpy())) + 2
            raise BadInputError(f"{where}: {name} is empty in {int(empty.sum())} rows, first in line {line}")
    table = pd.DataFrame({name: rows[name].str.strip() for name in kept})
    scores = _scores(rows, classes, where, needed="predicted" not in kept)
    if "predicted" not in kept:
        table["predicted"] = np.array(classes, dtype=object)[scores.to_numpy().argmax(axis=1)]
    foreign = ~table["predicted"].isin(classes)
    if foreign.any():
        first = table.loc[foreign, "predicted"].iloc[0]
        raise BadInputError(
            f"{where}: predicted class {first!r} ({int(foreign.sum())} rows) is none of {', '.join(classes)}"
        )
    if "seed" in kept:
        table["seed"] = _seeds(table["seed"], where)
    return pd.concat([table, scores], axis=1)


def _seeds(texts: pd.Series[str], where: str) -> pd.Series[int]:
    wrong = ~texts.str.fullmatch(r"\d{1,9}")
    if wrong.any():
        raise BadInputError(f"{where}: seed {texts[wrong].iloc[0]!r} is not a whole number of at most 9 digits")
    return texts.astype(int)


def _scores(rows: pd.DataFrame, classes: tuple[str, ...], where: str, *, needed: bool) -> pd.DataFrame:
    """One float column per class; none where the file has no score at all and needs none."""
    lower = {column.strip().lower(): column for column in map(str, rows.columns)}
    columns = {name: lower.get(f"score_{name.lower()}", lower.get(name.lower())) for name in classes}
    absent = [name for name, column in columns.items() if column is None]
    if absent and not needed and len(absent) == len(classes):
        return pd.DataFrame(index=rows.index)
    if absent:
        instead = "neither a column 'predicted' nor" if needed else "not"
        raise BadInputError(f"{where}: {instead} a score of class {absent[0]!r} (column 'score_{absent[0]}')")
    scores = pd.DataFrame(
        {f"score_{name}": pd.to_numeric(rows[str(column)], errors="coerce") for name, column in columns.items()}
    )
    for name in classes:
        wrong = ~np.isfinite(scores[f"score_{name}"].to_numpy(dtype=float))
        if wrong.any():
            utterance = rows["utterance"].iloc[int(np.argmax(wrong))]
            raise BadInputError(
                f"{where}: the score of class {name!r} is no finite number in {int(wrong.sum())} rows, first of "
                f"utterance {utterance!r}"
            )
    return scores


def _test_part(sweep: Sweep, record: Record) -> pd.DataFrame:
    """What the sweep's trials were asked; not what they answered."""
    where = f"trial {record.trial_key}, test"
    split, *asked = PredictionsFile(sweep.folder(record), where=where).columns(["split", *ASKED])
    rows_N = np.flatnonzero(np.array(split.values, dtype=object)[split.codes_N] == "test")
    columns = {name: column.rows(rows_N) for name, column in zip(ASKED, asked, strict=True)}
    return pd.DataFrame(
        {name: np.array(column.values, dtype=object)[column.codes_N] for name, column in columns.items()}
    )


def _check_questions(run: pd.DataFrame, test: pd.DataFrame, where: str) -> None:
    """The same rows of utterance, fold, speaker and label, in any order."""
    twice = run.duplicated(["fold", "utterance"])
    if twice.any():
        raise BadInputError(f"{where}: utterance {run.loc[twice, 'utterance'].iloc[0]!r} is there twice in one fold")
    # Where each utterance is tested once, another fold is a wrong fold and not another question.
    key = ["fold", "utterance"] if test["utterance"].duplicated().any() else ["utterance"]
    if (again := run.duplicated(key)).any():
        raise BadInputError(f"{where}: utterance {run.loc[again, 'utterance'].iloc[0]!r} is there in two folds")
    both = test.merge(run[ASKED], on=key, how="outer", suffixes=("", "_given"), indicator="side", sort=True)
    for side, told in (
        ("left_only", f"of {len(test)} utterances are absent"),
        ("right_only", "are not in the test part"),
    ):
        apart = both[both["side"] == side]
        if len(apart):
            raise BadInputError(f"{where}: {len(apart)} {told}, first {apart['utterance'].iloc[0]!r}")
    for name in (column for column in ("fold", "speaker", "label") if column not in key):
        other = both[both[name] != both[f"{name}_given"]]
        if len(other):
            first = other.iloc[0]
            raise BadInputError(
                f"{where}: utterance {first['utterance']!r} has {name} {first[f'{name}_given']!r}, in the sweep's test "
                f"part {first[name]!r} ({len(other)} utterances differ)"
            )


def _metrics(run: pd.DataFrame, record: Record) -> MetricsEntry:
    """By fold, in the order of the sweep's own records."""
    assert record.metrics is not None
    metrics = {"ua": ua, "wa": wa, "macro_f1": macro_f1}

    def scores(rows: pd.DataFrame) -> dict[str, float]:
        counts_CC = confusion(rows["label"].tolist(), rows["predicted"].tolist(), record.corpus.classes)
        return {name: metric(counts_CC) for name, metric in metrics.items()}

    names = [entry.fold for entry in record.metrics.folds if entry.split == "test"]
    parts = [run[run["fold"] == name] for name in names]
    folds = tuple(
        FoldMetrics(fold=name, split="test", n=len(part), **scores(part))
        for name, part in zip(names, parts, strict=True)
    )
    mean = {name: float(np.mean([getattr(entry, name) for entry in folds])) for name in metrics}
    return MetricsEntry(folds=folds, mean={"test": mean}, pooled={"test": scores(run)})


def _write(system: ImportedSystem, groups: dict[int, pd.DataFrame], folder: Path) -> None:
    """Whole or not at all: made beside, then moved."""
    part = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    for seed, run in groups.items():
        place = part / system.run_folder(seed)
        place.mkdir(parents=True)
        run.drop(columns="seed", errors="ignore").assign(split="test").to_parquet(
            place / "predictions.parquet", index=False
        )
    (part / "import.json").write_text(system.model_dump_json(indent=1), encoding="utf-8")
    shutil.rmtree(folder, ignore_errors=True)
    part.rename(folder)
