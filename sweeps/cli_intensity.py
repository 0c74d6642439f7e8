"""`sweep intensity …`: frame-level intensity models, fitted, applied and judged by hand."""

from __future__ import annotations

__all__ = ["intensity"]

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from sweeps.cli_options import (
    CORPORA,
    Command,
    corpus_config,
    corpus_options,
    intensity_options,
    json_option,
    label_options,
    workspace_option,
)

Control = Literal["none", "loudness", "shuffled", "rolled", "inverse"]
CONTROLS: tuple[Control, ...] = ("none", "loudness", "shuffled", "rolled", "inverse")

if TYPE_CHECKING:
    from core.config import CorpusConfig, TrialConfig
    from core.corpora.manifest import Manifest
    from core.intensity.agreement import Agreement
    from core.intensity.evaluation import Finding, Measure
    from core.store import Artifact

_MEASURES: Mapping[Measure, str] = {
    "levels": "Stated levels: stronger above weaker take of the same statement, % of pairs (chance 50)",
    "frames": "Planted intensity: emphasised above other speech frames of an utterance, % (chance 50)",
    "activation": "Labelled activation: Spearman's ρ within a speaker (chance 0)",
    "emotional": "Emotional above neutral utterances of a speaker, % of pairs (chance 50)",
}
_FOOTNOTE = (
    "In brackets, from 5 speakers on: 95 % interval for other speakers (bootstrap, expanded percentiles).\n"
    "Shuffling in time keeps an utterance's mean but for its silence: it is a control for the planted frames."
)
_CASES: Mapping[Measure, str] = {
    "levels": "pairs", "frames": "utterances", "activation": "utterances", "emotional": "pairs"
}  # fmt: skip


@click.group()
def intensity() -> None:
    """Fit and apply frame-level intensity models."""


@intensity.command("fit")
@click.option("--corpus", "name", type=click.Choice(CORPORA), required=True, help="Corpus to learn from.")
@corpus_options
@label_options
@intensity_options
@workspace_option
@json_option
def intensity_fit(
    name: str, root: Path | None, part: str, allow_incomplete: bool, allow_quarantined: bool, subset: str | None,
    labels: str | None, preset: str, overrides: tuple[str, ...], workspace: Path | None, as_json: bool,
) -> None:  # fmt: skip
    """Fit StrengthNet on a corpus. Sweeps and `sweep intensity score` with the same settings find the result.

    Example: sweep intensity fit --corpus ravdess --root data/ravdess --preset small
    """
    from core.corpora.loading import check_launchable, load_manifest
    from core.intensity.fitting import fit_strengthnet
    from core.store import Workspace
    from sweeps.display import Display

    fit = corpus_config(
        name, root, part=part, subset=subset, labels=labels, incomplete=allow_incomplete, quarantined=allow_quarantined
    )
    config = _intensity_config(preset, overrides, fit=fit, scored=fit)
    display, place = Display(), Workspace.at(workspace)
    with display.live():
        manifest = load_manifest(fit, place, progress=display.progress)
        check_launchable(manifest, fit)
        model = fit_strengthnet(
            manifest,
            manifest.speakers,
            config.intensity,
            place,
            threads=config.intensity.threads,
            progress=display.progress,
        )
    notes = json.loads((model.path / "fit.json").read_text())
    if as_json:
        click.echo(json.dumps({"key": model.key, "path": str(model.path), **notes}))
        return
    click.echo(f"StrengthNet {model.key} on {name}: {notes['epochs']} epochs, best {notes['best_epoch']}")
    click.echo(f"in {model.path}")


def _fit_options(command: Command) -> Command:
    for option in (
        click.option("--fit-part", type=click.Choice(["main", "intensity"]), default="main", help="Its part (demo)."),
        click.option("--fit-root", type=click.Path(path_type=Path), help="Its folder."),
        click.option("--fit", "fit_name", type=click.Choice(CORPORA), required=True, help="Corpus to learn from."),
    ):
        command = option(command)
    return command


@intensity.command("score")
@click.option("--corpus", "name", type=click.Choice(CORPORA), required=True, help="Corpus to score.")
@corpus_options
@label_options
@_fit_options
@click.option(
    "--out", type=click.Path(path_type=Path, dir_okay=False), required=True, help="CSV to write: file_path,score."
)
@intensity_options
@workspace_option
def intensity_score(
    name: str, root: Path | None, part: str, allow_incomplete: bool, allow_quarantined: bool, subset: str | None,
    labels: str | None, fit_name: str, fit_root: Path | None, fit_part: str, out: Path, preset: str,
    overrides: tuple[str, ...], workspace: Path | None,
) -> None:  # fmt: skip
    """Write a score per feature frame for every utterance of a corpus, by a model fitted on another.

    Example: sweep intensity score --corpus ravdess --root RAVDESS --fit emodb --fit-root EMODB --out scores.csv
    """
    from core.errors import BadInputError
    from core.intensity.tracks import write_scores

    scored = corpus_config(
        name, root, part=part, subset=subset, labels=labels, incomplete=allow_incomplete, quarantined=allow_quarantined
    )
    config = _intensity_config(preset, overrides, fit=corpus_config(fit_name, fit_root, part=fit_part), scored=scored)
    manifest, features, tracks = _tracks(config, workspace, controls=("none",))
    try:
        write_scores(manifest, features, tracks["none"], out)
    except OSError as error:
        raise BadInputError(f"--out {out}: cannot be written ({error.strerror})") from error
    click.echo(f"{len(manifest.utterances)} utterances, one score every {config.features.hop_ms:g} ms, in {out}")


@intensity.command("evaluate")
@click.option(
    "--corpus", "name", type=click.Choice(CORPORA), required=True, help="Corpus that knows something of intensity."
)
@corpus_options
@label_options
@_fit_options
@click.option(
    "--equal-level", is_flag=True, help="As if all utterances of a speaker were equally loud: intensity without level."
)
@intensity_options
@workspace_option
@json_option
def intensity_evaluate(
    name: str, root: Path | None, part: str, allow_incomplete: bool, allow_quarantined: bool, subset: str | None,
    labels: str | None, fit_name: str, fit_root: Path | None, fit_part: str, equal_level: bool, preset: str,
    overrides: tuple[str, ...], workspace: Path | None, as_json: bool,
) -> None:  # fmt: skip
    """How far the model, and each control beside it, agrees with what a corpus knows of intensity.

    That is: stated levels (RAVDESS, CREMA-D), planted frames (demo), labelled activation, emotional above neutral.

    Example: sweep intensity evaluate --corpus ravdess --root RAVDESS --fit emodb --fit-root EMODB --equal-level
    """
    import numpy as np

    from core.corpora.demo import planted_intensity
    from core.features import Features
    from core.intensity.evaluation import MODEL, evaluate
    from core.store import Workspace

    scored = corpus_config(
        name, root, part=part, subset=subset, labels=labels, incomplete=allow_incomplete, quarantined=allow_quarantined
    )
    config = _intensity_config(preset, overrides, fit=corpus_config(fit_name, fit_root, part=fit_part), scored=scored)
    manifest, features, tracks = _tracks(config, workspace, controls=CONTROLS, equal_level=equal_level)
    findings = evaluate(
        manifest,
        Features.open(features.path),
        {
            MODEL if control == "none" else control: np.load(track.path / "track.npy", mmap_mode="r")
            for control, track in tracks.items()
        },
        planted=planted_intensity(scored, Workspace.at(workspace)) if scored.name == "demo" else None,
        grid=config.features,
    )
    if as_json:
        facts = {"corpus": manifest.corpus, "part": manifest.part, "fit": fit_name, "equal_level": equal_level}
        click.echo(json.dumps(facts | {"findings": [asdict(finding) for finding in findings]}))
        return
    click.echo(_findings_text(findings))


def _findings_text(findings: Sequence[Finding]) -> str:
    """A block per measure: a row per group, a column per track, and the model's lead over each control below."""
    lines: list[str] = []
    for measure, of_measure in groupby(findings, key=lambda finding: finding.measure):
        rows = list(of_measure)
        whole = rows[0]
        first = next(iter(whole.tracks.values()))
        lines += ["", f"{_MEASURES[measure]}; {first.speakers} speakers"]
        lines.append(f"{'':12}{_CASES[measure]:>10}" + "".join(f"{name:>23}" for name in whole.tracks))
        for row in rows:
            cells = [_cell(measure, each) for each in row.tracks.values()]
            count = next(iter(row.tracks.values())).cases
            lines.append(f"{row.group:12}{count:>10}" + "".join(f"{cell:>23}" for cell in cells))
        leads = [_cell(measure, each, sign="+") for each in whole.leads.values()]
        lines.append(f"{'model leads by':22}{'':23}" + "".join(f"{cell:>23}" for cell in leads))
    lines += [
        "",
        _FOOTNOTE,
    ]
    return "\n".join(lines[1:])


def _cell(measure: Measure, found: Agreement, *, sign: Literal["", "+"] = "") -> str:
    scale, digits = (1, 2) if measure == "activation" else (100, 1)
    value = f"{scale * found.value:{sign}.{digits}f}"
    if found.low is None or found.high is None:
        return value
    return f"{value} [{scale * found.low:.{digits}f}, {scale * found.high:.{digits}f}]"


def _tracks(
    config: TrialConfig, workspace: Path | None, *, controls: tuple[Control, ...], equal_level: bool = False
) -> tuple[Manifest, Artifact, Mapping[Control, Artifact]]:
    """The checked corpus, its features, and its track under each control."""
    from core.corpora.loading import check_launchable, load_manifest
    from core.features import make_features
    from core.intensity.tracks import make_track
    from core.store import Workspace
    from sweeps.display import Display

    display, place = Display(), Workspace.at(workspace)
    with display.live():
        manifest = load_manifest(config.corpus, place, progress=display.progress)
        check_launchable(manifest, config.corpus)
        features = make_features(manifest, config.features, place, progress=display.progress)
        tracks: dict[Control, Artifact] = {
            control: make_track(
                manifest,
                features,
                config.intensity.model_copy(update={"control": control}),
                config.features,
                place,
                threads=config.intensity.threads,
                equal_level=equal_level,
                progress=display.progress,
            )
            for control in controls
        }
    return manifest, features, tracks


def _intensity_config(
    preset: str, overrides: tuple[str, ...], *, fit: CorpusConfig, scored: CorpusConfig
) -> TrialConfig:
    from sweeps.definition import SweepDefinition, trial_config
    from sweeps.overrides import apply_overrides
    from sweeps.settings import checked

    settings = {"corpus": scored.model_dump(), "intensity": {"source": "strengthnet", "fit": fit.model_dump()}}
    content = apply_overrides({"name": "intensity", "preset": preset, "settings": settings, "axes": {}}, overrides)
    return trial_config(checked(SweepDefinition, content, where="-o"), {})
