"""`sweep corpus …` and `sweep intensity …`: what a sweep is made from, looked at and made by hand."""

from __future__ import annotations

__all__ = ["corpus", "intensity"]

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from sweeps.cli_options import CORPORA, SCHEMES, corpus_options, intensity_options, json_option, workspace_option

if TYPE_CHECKING:
    from core.config import CorpusConfig, TrialConfig


@click.group()
def corpus() -> None:
    """Look at corpora."""


@corpus.command("check")
@click.argument("name", type=click.Choice(CORPORA))
@corpus_options
@click.option("--folds", "scheme", type=click.Choice(SCHEMES), help="Count per fold of this scheme too.")
@click.option("--fold-file", type=click.Path(path_type=Path), help="Fold file of the scheme 'file'.")
@workspace_option
@json_option
def corpus_check(
    name: str, root: Path | None, part: str, allow_incomplete: bool, allow_quarantined: bool, scheme: str | None,
    fold_file: Path | None, workspace: Path | None, as_json: bool,
) -> None:  # fmt: skip
    """Check every file of a corpus; print its counts per fold and class, and the ledger of what is set aside.

    Example: sweep corpus check ravdess --root data/ravdess --folds leave-one-speaker-out
    """
    from core.config import FoldsConfig
    from core.corpora.folds import make_folds
    from core.corpora.loading import load_manifest, summarise
    from core.store import Workspace
    from sweeps.definition import checked
    from sweeps.display import Display
    from sweeps.ledger import ledger_text

    config = _corpus(name, root, part=part, incomplete=allow_incomplete, quarantined=allow_quarantined)
    display = Display()
    with display.live():
        manifest = load_manifest(config, Workspace.at(workspace), progress=display.progress)
    folds = None
    if scheme:
        settings = {"scheme": scheme, "file": fold_file}
        folds = make_folds(manifest, checked(FoldsConfig, settings, where="--folds"))
    summary = summarise(manifest, folds)
    click.echo(json.dumps(summary) if as_json else ledger_text(summary))


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

    fit = _corpus(name, root, part=part, incomplete=allow_incomplete, quarantined=allow_quarantined)
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


@intensity.command("score")
@click.option("--corpus", "name", type=click.Choice(CORPORA), required=True, help="Corpus to score.")
@corpus_options
@click.option("--fit", "fit_name", type=click.Choice(CORPORA), required=True, help="Corpus the model learns from.")
@click.option("--fit-root", type=click.Path(path_type=Path), help="Its folder.")
@click.option("--fit-part", type=click.Choice(["main", "intensity"]), default="main", help="Its part (demo).")
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
    from core.intensity.tracks import make_track, write_scores

    from core.corpora.loading import check_launchable, load_manifest
    from core.features import make_features
    from core.store import Workspace
    from sweeps.display import Display

    scored = _corpus(name, root, part=part, incomplete=allow_incomplete, quarantined=allow_quarantined)
    config = _intensity_config(preset, overrides, fit=_corpus(fit_name, fit_root, part=fit_part), scored=scored)
    display, place = Display(), Workspace.at(workspace)
    with display.live():
        manifest = load_manifest(scored, place, progress=display.progress)
        check_launchable(manifest, scored)
        features = make_features(manifest, config.features, place, progress=display.progress)
        track = make_track(
            manifest, features, config.intensity, config.features, place, threads=config.intensity.threads,
            progress=display.progress,
        )  # fmt: skip
    write_scores(manifest, features, track, out)
    click.echo(f"{len(manifest.utterances)} utterances, one score every {config.features.hop_ms:g} ms, in {out}")


def _intensity_config(
    preset: str, overrides: tuple[str, ...], *, fit: CorpusConfig, scored: CorpusConfig
) -> TrialConfig:
    from sweeps.definition import SweepDefinition, apply_overrides, checked, trial_config

    settings = {"corpus": scored.model_dump(), "intensity": {"source": "strengthnet", "fit": fit.model_dump()}}
    content = apply_overrides({"name": "intensity", "preset": preset, "settings": settings, "axes": {}}, overrides)
    return trial_config(checked(SweepDefinition, content, where="-o"), {})


def _corpus(
    name: str, root: Path | None, *, part: str = "main", incomplete: bool = False, quarantined: bool = False
) -> CorpusConfig:
    from core.config import CorpusConfig
    from sweeps.definition import checked

    settings = {
        "name": name,
        "root": root,
        "part": part,
        "allow_incomplete": incomplete,
        "allow_quarantined": quarantined,
    }
    return checked(CorpusConfig, settings, where=f"corpus {name}")
