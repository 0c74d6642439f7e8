"""`sweep corpus …`: the corpora a sweep is made from, looked at."""

from __future__ import annotations

__all__ = ["corpus"]

import json
from pathlib import Path

import click

from sweeps.cli_options import (
    CORPORA,
    SCHEMES,
    corpus_config,
    corpus_options,
    json_option,
    label_options,
    workspace_option,
)


@click.group()
def corpus() -> None:
    """Look at corpora."""


@corpus.command("check")
@click.argument("name", type=click.Choice(CORPORA))
@corpus_options
@label_options
@click.option("--folds", "scheme", type=click.Choice(SCHEMES), help="Count per fold of this scheme too.")
@click.option("--fold-file", type=click.Path(path_type=Path), help="Fold file of the scheme 'file'.")
@workspace_option
@json_option
def corpus_check(
    name: str, root: Path | None, part: str, allow_incomplete: bool, allow_quarantined: bool, subset: str | None,
    labels: str | None, scheme: str | None, fold_file: Path | None, workspace: Path | None, as_json: bool,
) -> None:  # fmt: skip
    """Check every file of a corpus; print its counts per fold and class, and the ledger of what is set aside.

    Example: sweep corpus check ravdess --root data/ravdess --folds leave-one-speaker-out
    """
    from core.config import FoldsConfig
    from core.corpora.folds import make_folds
    from core.corpora.loading import load_manifest, summarise
    from core.store import Workspace
    from sweeps.display import Display
    from sweeps.ledger import ledger_text
    from sweeps.settings import checked

    config = corpus_config(
        name, root, part=part, subset=subset, labels=labels, incomplete=allow_incomplete, quarantined=allow_quarantined
    )
    display = Display()
    with display.live():
        manifest = load_manifest(config, Workspace.at(workspace), progress=display.progress)
    folds = None
    if scheme:
        settings = {"scheme": scheme, "file": fold_file}
        folds = make_folds(manifest, checked(FoldsConfig, settings, where="--folds"))
    summary = summarise(manifest, folds)
    click.echo(json.dumps(summary) if as_json else ledger_text(summary))
