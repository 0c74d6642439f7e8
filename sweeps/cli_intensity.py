"""`sweep intensity …`: frame-level intensity models, fitted, applied and judged by hand."""

from __future__ import annotations

__all__ = ["intensity"]

import json
from collections.abc import Mapping
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
    workspace_option,
)

Control = Literal["none", "loudness"]

if TYPE_CHECKING:
    from core.config import CorpusConfig, TrialConfig
    from core.corpora.manifest import Manifest
    from core.store import Artifact


@click.group()
def intensity() -> None:
    """Fit and apply frame-level intensity models."""


@intensity.command("fit")
@click.option("--corpus", "name", type=click.Choice(CORPORA), required=True, help="Corpus to learn from.")
@corpus_options
@intensity_options
@workspace_option
@json_option
def intensity_fit(
    name: str, root: Path | None, part: str, allow_incomplete: bool, allow_quarantined: bool,
    preset: str, overrides: tuple[str, ...], workspace: Path | None, as_json: bool,
) -> None:  # fmt: skip
    """Fit StrengthNet on a corpus. Sweeps and `sweep intensity score` with the same settings find the result.

    Example: sweep intensity fit --corpus ravdess --root data/ravdess --preset small
    """
    from core.corpora.loading import check_launchable, load_manifest
    from core.intensity.fitting import fit_strengthnet
    from core.store import Workspace
    from sweeps.display import Display

    fit = corpus_config(name, root, part=part, incomplete=allow_incomplete, quarantined=allow_quarantined)
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
@_fit_options
@click.option(
    "--out", type=click.Path(path_type=Path, dir_okay=False), required=True, help="CSV to write: file_path,score."
)
@intensity_options
@workspace_option
def intensity_score(
    name: str, root: Path | None, part: str, allow_incomplete: bool, allow_quarantined: bool, fit_name: str,
    fit_root: Path | None, fit_part: str, out: Path, preset: str, overrides: tuple[str, ...], workspace: Path | None,
) -> None:  # fmt: skip
    """Write a score per feature frame for every utterance of a corpus, by a model fitted on another.

    Example: sweep intensity score --corpus ravdess --root RAVDESS --fit emodb --fit-root EMODB --out scores.csv
    """
    from core.errors import BadInputError
    from core.intensity.tracks import write_scores

    scored = corpus_config(name, root, part=part, incomplete=allow_incomplete, quarantined=allow_quarantined)
    config = _intensity_config(preset, overrides, fit=corpus_config(fit_name, fit_root, part=fit_part), scored=scored)
    manifest, features, tracks = _tracks(config, workspace, controls=("none",))
    try:
        write_scores(manifest, features, tracks["none"], out)
    except OSError as error:
        raise BadInputError(f"--out {out}: cannot be written ({error.strerror})") from error
    click.echo(f"{len(manifest.utterances)} utterances, one score every {config.features.hop_ms:g} ms, in {out}")


@intensity.command("evaluate")
@click.option(
    "--corpus", "name", type=click.Choice(CORPORA), required=True, help="Corpus that states intensity levels."
)
@corpus_options
@_fit_options
@intensity_options
@workspace_option
@json_option
def intensity_evaluate(
    name: str, root: Path | None, part: str, allow_incomplete: bool, allow_quarantined: bool, fit_name: str,
    fit_root: Path | None, fit_part: str, preset: str, overrides: tuple[str, ...], workspace: Path | None,
    as_json: bool,
) -> None:  # fmt: skip
    """Share of pairs in which "strong" scores above "normal": the model beside the loudness control (RAVDESS).

    Example: sweep intensity evaluate --corpus ravdess --root RAVDESS --fit emodb --fit-root EMODB
    """
    from dataclasses import asdict

    import numpy as np

    from core.features import Features
    from core.intensity.evaluation import rank_strength, utterance_scores

    scored = corpus_config(name, root, part=part, incomplete=allow_incomplete, quarantined=allow_quarantined)
    config = _intensity_config(preset, overrides, fit=corpus_config(fit_name, fit_root, part=fit_part), scored=scored)
    manifest, features, tracks = _tracks(config, workspace, controls=("none", "loudness"))
    opened = Features.open(features.path)
    ranked = {}
    for control, track in tracks.items():
        scores = utterance_scores(opened, np.load(track.path / "track.npy", mmap_mode="r"))
        ranked["model" if control == "none" else control] = rank_strength(manifest, scores)
    if as_json:
        click.echo(json.dumps({source: asdict(ranking) for source, ranking in ranked.items()}))
        return
    click.echo(f"{'strong above normal, %':26}" + "".join(f"{source:>24}" for source in ranked))
    for emotion in ("all", *ranked["model"].by_emotion):
        shares = [ranking.overall if emotion == "all" else ranking.by_emotion[emotion] for ranking in ranked.values()]
        cells = (f"{100 * each.share:.1f} [{100 * each.low:.1f}, {100 * each.high:.1f}]" for each in shares)
        click.echo(f"{emotion + f' ({shares[0].pairs} pairs)':26}" + "".join(f"{cell:>24}" for cell in cells))
    click.echo("95 % intervals by bootstrap over speakers; chance is 50")


def _tracks(
    config: TrialConfig, workspace: Path | None, *, controls: tuple[Control, ...]
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
                progress=display.progress,
            )
            for control in controls
        }
    return manifest, features, tracks


def _intensity_config(
    preset: str, overrides: tuple[str, ...], *, fit: CorpusConfig, scored: CorpusConfig
) -> TrialConfig:
    from sweeps.definition import SweepDefinition, apply_overrides, checked, trial_config

    settings = {"corpus": scored.model_dump(), "intensity": {"source": "strengthnet", "fit": fit.model_dump()}}
    content = apply_overrides({"name": "intensity", "preset": preset, "settings": settings, "axes": {}}, overrides)
    return trial_config(checked(SweepDefinition, content, where="-o"), {})
