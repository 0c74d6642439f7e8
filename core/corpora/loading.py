"""The one door to a corpus: config → checked Manifest; and what may be launched on it."""

from __future__ import annotations

__all__ = ["check_launchable", "load_manifest", "summarise"]

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict

from core.config import CorpusConfig, CorpusName
from core.corpora import crema_d, demo, emodb, esd, iemocap, kemdy19, librispeech, msp_podcast, ravdess, table
from core.corpora.checks import Listing, check_files
from core.corpora.folds import Folds
from core.corpora.manifest import Manifest, Quarantined
from core.errors import CorpusError
from core.identity import Json
from core.progress import Progress, silent
from core.store import Workspace

_CORPORA: Mapping[CorpusName, Callable[[CorpusConfig, Workspace], Listing]] = {
    "demo": demo.list_demo,
    "iemocap": iemocap.list_iemocap,
    "ravdess": ravdess.list_ravdess,
    "emodb": emodb.list_emodb,
    "esd": esd.list_esd,
    "crema-d": crema_d.list_crema_d,
    "msp-podcast": msp_podcast.list_msp_podcast,
    "kemdy19": kemdy19.list_kemdy19,
    "librispeech": librispeech.list_librispeech,
    "table": table.list_table,
}


def load_manifest(config: CorpusConfig, workspace: Workspace, *, progress: Progress = silent) -> Manifest:
    """The checked manifest of a corpus. Files that were checked before and have not changed are not decoded again.

    Raises CorpusError when the folder is not that corpus or the corpus has no such subset or label set, and
    MissingDependencyError when the demo corpus must be rendered and espeak-ng is not installed. Files that cannot be
    used are no error here: see `check_launchable`.
    """
    listing = _CORPORA[config.name](config, workspace)
    return check_files(listing, workspace, progress=progress)


def check_launchable(manifest: Manifest, config: CorpusConfig) -> None:
    """Raise CorpusError when files are quarantined for reasons the published corpus does not explain.

    `CorpusConfig.allow_quarantined` accepts them.
    """
    unknown = [entry for entry in manifest.ledger if not entry.known]
    if not manifest.utterances:
        first = f" (first: {manifest.ledger[0].detail})" if manifest.ledger else ""
        raise CorpusError(f"corpus {manifest.corpus}: none of its {len(manifest.ledger)} utterances can be used{first}")
    if unknown and not config.allow_quarantined:
        reasons = ", ".join(f"{count} {reason}" for reason, count in _reasons(unknown).items())
        first = f"{unknown[0].utterance}: {unknown[0].detail}"
        raise CorpusError(
            f"corpus {manifest.corpus}: {len(unknown)} of {len(manifest.utterances) + len(unknown)} utterances cannot "
            f"be used ({reasons}; first {first}); mend them or pass --allow-quarantined"
        )


def summarise(manifest: Manifest, folds: Folds | None = None) -> dict[str, Json]:
    """JSON-able account of a manifest: totals, then used and quarantined utterances per fold and class.

    A row's fold is the one whose test part holds the utterance's speaker (for quarantined ones too); null without
    folds, or when none of that speaker's utterances is used. Its class is empty in a corpus without classes.
    """
    unknown = sum(not entry.known for entry in manifest.ledger)
    return {
        "corpus": manifest.corpus,
        "part": manifest.part,
        "fingerprint": manifest.fingerprint,
        "classes": list(manifest.classes),
        "speakers": len(manifest.speakers),
        "utterances": len(manifest.utterances),
        "hours": sum(utterance.duration_s for utterance in manifest.utterances) / 3600,
        "quarantined": len(manifest.ledger),
        "quarantined_unknown": unknown,
        "incomplete": manifest.incomplete,
        "folds": None if folds is None else _scheme(folds),
        "rows": _rows(manifest, folds),
        "ledger": [{**asdict(entry), "path": str(entry.path)} for entry in manifest.ledger],
    }


def _scheme(folds: Folds) -> dict[str, Json]:
    return {"scheme": folds.scheme, "validation": folds.validation, "leaky": folds.leaky}


def _rows(manifest: Manifest, folds: Folds | None) -> list[Json]:
    tested_in = {utterance: fold.name for fold in folds.folds for utterance in fold.test} if folds else {}
    fold_of = {item.speaker: tested_in[item.utterance] for item in manifest.utterances if item.utterance in tested_in}
    used = Counter((fold_of.get(item.speaker), item.label) for item in manifest.utterances)
    aside: dict[tuple[str | None, str], list[Quarantined]] = {}
    for entry in manifest.ledger:
        aside.setdefault((fold_of.get(entry.speaker), entry.label), []).append(entry)
    names: list[str | None] = [*(fold.name for fold in folds.folds), None] if folds else [None]
    classes = manifest.classes or ("",)
    extra = sorted({label for _, label in aside} - set(classes))
    return [
        {"fold": name, "class": label, "used": used[name, label], "quarantined": _reasons(aside.get((name, label), []))}
        for name in names
        for label in (*classes, *extra)
        if (name, label) in used or (name, label) in aside
    ]


def _reasons(entries: list[Quarantined]) -> dict[str, int]:
    return dict(sorted(Counter(entry.reason for entry in entries).items()))
