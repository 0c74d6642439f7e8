"""Options that several commands of `sweep` share."""

from __future__ import annotations

__all__ = [
    "CORPORA",
    "LABEL_SETS",
    "SCHEMES",
    "Command",
    "corpus_config",
    "corpus_options",
    "intensity_options",
    "json_option",
    "label_options",
    "override_option",
    "workspace_option",
]

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from core.config import CorpusConfig

CORPORA = ("demo", "iemocap", "ravdess", "emodb", "esd", "crema-d", "msp-podcast", "kemdy19", "librispeech", "table")
LABEL_SETS = ("merged-4", "plain-4", "excited-5", "frustrated-5", "all", "dimensions")
SCHEMES = ("leave-one-session-out", "leave-one-speaker-out", "speaker-folds", "file")
Command = TypeVar("Command", bound=Callable[..., Any])


def override_option(command: Command) -> Command:
    return click.option(
        "-o", "--override", "overrides", multiple=True, metavar="KEY=VALUE",
        help="Change a setting, e.g. -o preset=small; an axis with -o axes.KEY=[…].",
    )(command)  # fmt: skip


def workspace_option(command: Command) -> Command:
    return click.option(
        "--workspace", type=click.Path(path_type=Path, file_okay=False),
        help="Folder of everything; default $EMSWEEP_WORKSPACE, else ./emsweep-workspace.",
    )(command)  # fmt: skip


def json_option(command: Command) -> Command:
    return click.option("--json", "as_json", is_flag=True, help="Machine-readable output.")(command)


def corpus_options(command: Command) -> Command:
    for option in (
        click.option("--allow-quarantined", is_flag=True, help="Accept unusable files; they are left out and counted."),
        click.option("--allow-incomplete", is_flag=True, help="Accept an IEMOCAP without its published counts."),
        click.option(
            "--part",
            type=click.Choice(["main", "intensity", "noisy", "pauses"]),
            default="main",
            help="Part of the demo corpus.",
        ),
        click.option("--root", type=click.Path(path_type=Path), help="Folder of the corpus; the CSV of a table."),
    ):
        command = option(command)
    return command


def label_options(command: Command) -> Command:
    for option in (
        click.option("--labels", type=click.Choice(LABEL_SETS), help="Label set, where the corpus has several."),
        click.option("--subset", help="Part of the corpus by its own name, e.g. improvised, english, train-clean-360."),
    ):
        command = option(command)
    return command


def intensity_options(command: Command) -> Command:
    for option in (
        click.option(
            "-o",
            "--override",
            "overrides",
            multiple=True,
            metavar="KEY=VALUE",
            help="Change a setting.",
        ),
        click.option("--preset", type=click.Choice(["smoke", "small", "paper"]), default="small", show_default=True),
    ):
        command = option(command)
    return command


def corpus_config(
    name: str, root: Path | None, *, part: str = "main", subset: str | None = None, labels: str | None = None,
    incomplete: bool = False, quarantined: bool = False,
) -> CorpusConfig:  # fmt: skip
    """The config of a corpus named on the command line; BadInputError for what it refuses."""
    from core.config import CorpusConfig
    from sweeps.settings import checked

    settings = {
        "name": name,
        "root": root,
        "part": part,
        "subset": subset,
        "labels": labels,
        "allow_incomplete": incomplete,
        "allow_quarantined": quarantined,
    }
    return checked(CorpusConfig, settings, where=f"corpus {name}")
