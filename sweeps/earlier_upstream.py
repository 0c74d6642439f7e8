"""Upstreams of an earlier sweep: `trial:<key>`, and `best-of:<sweep>`, of the arm that validation puts first (ours).

What made the earlier upstream is taken over from its trial's record, so that the very same artifact is found.
"""

from __future__ import annotations

__all__ = ["is_reference", "refuse_untrained", "taken_over", "upstream_settings", "with_earlier_upstreams"]

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from core.config import TrialConfig
from core.errors import BadInputError
from core.presets import Settings
from core.records import Record, read_record
from core.resolve import Corpora
from core.store import Workspace
from sweeps.references import find_trial
from sweeps.settings import checked, leaves, merge

if TYPE_CHECKING:
    from sweeps.definition import Space, SweepDefinition

TRIAL, BEST = "trial:", "best-of:"
PARTS = ("features", "intensity", "pretraining_audio", "masking", "score", "pretrain")
"""What makes an upstream beside the settings of its own kind."""


def is_reference(upstream: Any) -> bool:
    """Whether a value of `upstream` names one of an earlier sweep."""
    return isinstance(upstream, str) and upstream.startswith((TRIAL, BEST))


def with_earlier_upstreams(definition: SweepDefinition, workspace: Workspace) -> SweepDefinition:
    """The definition with the settings of each earlier upstream that it names beside it, in `earlier`.

    Looked up once, when the sweep is launched: what `best-of` means does not change while the sweep runs. Raises
    BadInputError for one that is not there.
    """
    parts: tuple[Space, ...] = (definition, *definition.when)
    found = {name: upstream_settings(name, workspace) for part in parts for name in _named(part)}
    return definition.model_copy(update={"earlier": found}) if found else definition


def _named(part: Space) -> list[str]:
    axis = part.axes.get("upstream", ())
    written = [part.settings.get("upstream"), *(axis if isinstance(axis, tuple) else ())]
    written += [bundle.get("upstream") for bundle in part.arms.values()]
    return [name for name in written if is_reference(name)]


def upstream_settings(reference: str, workspace: Workspace) -> Settings:
    """The trial settings that make the upstream of a finished trial; its seed among them, as `pretrain.seed`.

    `trial:<key>`: that trial's, named as `find_trial` understands it. `best-of:<sweep>`: of the arm with the largest
    validation UA, mean over its seeds, the trial with the largest (the first of equals); arms that are not complete
    under all their seeds, and controls, are not looked at. Test scores never are.
    """
    if reference.startswith(BEST):
        record = _best(reference.removeprefix(BEST), workspace)
    else:
        key = find_trial(reference.removeprefix(TRIAL), workspace)
        found = _complete(workspace, key)
        if found is None:
            raise BadInputError(f"upstream {reference!r}: trial {key} is not complete")
        record = found
    config = checked(TrialConfig, record.config, where=f"trial {record.trial_key}")
    if not config.pretrains:
        raise BadInputError(
            f"upstream {reference!r}: trial {record.trial_key} trained none: its {config.upstream} came trained"
        )
    settings = config.model_dump(mode="json", include={"upstream", config.upstream, *PARTS})
    settings["pretrain"]["seed"] = config.pretraining_seed
    return settings


def _complete(workspace: Workspace, key: str) -> Record | None:
    record = read_record(workspace.trial(key))
    return record if record is not None and record.status == "complete" else None


def _best(sweep: str, workspace: Workspace) -> Record:
    plan = workspace.sweep(sweep) / "plan.json"
    if not plan.is_file():
        raise BadInputError(f"upstream '{BEST}{sweep}': sweep {sweep!r} was not launched in {workspace.root}")
    arms: dict[str, list[Record | None]] = {}
    for trial in json.loads(plan.read_text())["trials"]:
        if trial["control"] == "none":
            arms.setdefault(trial["arm_key"], []).append(_complete(workspace, trial["trial_key"]))
    whole = [[record for record in arm if record is not None] for arm in arms.values() if None not in arm]
    trained = [arm for arm in whole if TrialConfig.model_validate(arm[0].config).pretrains and _ua(arm[0]) is not None]
    if not trained:
        raise BadInputError(
            f"upstream '{BEST}{sweep}': no arm of sweep {sweep!r} with an upstream of its own is complete under all "
            "its seeds"
        )
    best = max(trained, key=lambda arm: sum(_ua(record) or 0.0 for record in arm) / len(arm))
    return max(best, key=lambda record: _ua(record) or 0.0)


def _ua(record: Record) -> float | None:
    return record.metrics.mean["validation"].get("ua") if record.metrics else None


def taken_over(settings: Settings, reference: str, earlier: Mapping[str, Settings], *, where: str) -> Settings:
    """The settings of a point with those of the earlier upstream that it names.

    Raises BadInputError for a reference that was not looked up, and for settings that would make another upstream.
    """
    if reference not in earlier:
        raise BadInputError(
            f"{where}: upstream {reference!r} is looked up in a workspace when the sweep is launched; to see its plan: "
            "sweep launch --dry-run"
        )
    made = earlier[reference]
    own = {name: value for name, value in settings.items() if name != "upstream"}
    for key in leaves({name: value for name, value in own.items() if name in made}):
        if not key.endswith((".allow_quarantined", ".allow_incomplete")):
            raise BadInputError(f"{where}: {key}: is settled by upstream {reference!r}, which is trained already")
    return merge(own, made)


def refuse_untrained(reference: str, config: TrialConfig, corpora: Corpora, workspace: Workspace) -> None:
    """BadInputError unless the upstreams that a trial takes over are in the store, ready to be read.

    They are not where they heard other audio than the trial's own protocol lets them: upstreams of one corpus and its
    folds serve that corpus and those folds, those of external audio any corpus that does not overlap with it.
    """
    from core.lookup import are_trained

    if are_trained(config, corpora, workspace):
        return
    source = config.pretraining_audio.source
    same = "threads, device and code" if source == "external" else "corpus, folds, threads, device and code"
    raise BadInputError(
        f"upstream {reference!r}: it heard {source!r} audio and its weights are not in the store for trials of this "
        f"sweep: {same} must be those of its own trial"
    )
