"""Everything a report says, gathered once: the page, the tables and `report.json` are three views of it."""

from __future__ import annotations

__all__ = ["Report", "gather"]

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import pandas as pd

from analysis.banners import Banner, banners
from analysis.changes import change_rows, changes_sentences
from analysis.comparisons import RESAMPLES, comparisons_table
from analysis.confusion import draw_confusions
from analysis.corpora import Role, sweep_corpora
from analysis.counts import counts_table
from analysis.examples import draw_examples
from analysis.figures import Drawing
from analysis.forest import draw_changes, draw_differences
from analysis.further import Further, look_further
from analysis.heatmap import draw_heatmaps
from analysis.learning import CURVES, draw_learning
from analysis.load import AnyPart, Arm, Outcome, Part, Sweep
from analysis.logged import Logged
from analysis.masks import policy_table
from analysis.openings import Opening
from analysis.picked import picked_arms
from analysis.pretraining import draw_losses, measured_sentence, one_per_upstream
from analysis.published import PublishedRow, read_published
from analysis.ratios import draw_ratios
from analysis.reliability import draw_reliability
from analysis.selection import PickedArm
from analysis.sentences import (
    METRIC_DEFINITIONS,
    choose_arms,
    floor_sentences,
    key_results,
    protocol_sentences,
    tally_sentence,
)
from analysis.speakers import draw_speakers
from analysis.specificity import Finding, findings, specificity_sentences, specificity_table
from analysis.systems import definitions
from analysis.tables import as_rows, results_table
from core.records import CorpusEntry


@dataclass(frozen=True, kw_only=True)
class Report:
    """The content of one report. Tables hold shares in [0, 1]."""

    sweep: Sweep
    logged: Logged
    opening: Opening | None
    """None when there was no test prediction to read."""
    results: pd.DataFrame
    comparisons: pd.DataFrame
    chosen: dict[str, str]
    """Upstream (in a sweep of several systems `system upstream`) → key of its arm with the best validation UA, or mean
    CCC."""
    key_results: tuple[str, ...]
    """One paragraph for each of them."""
    picked: tuple[PickedArm, ...]
    """The chosen arms: what their differences are worth after having been picked."""
    tally: str
    floor: tuple[str, ...]
    """The smallest p that can be reached, one sentence per family of comparisons."""
    controls: tuple[Finding, ...]
    """Every arm with each of its controls."""
    specificity: tuple[tuple[str, ...], ...]
    """What the controls of each chosen arm say, sentence by sentence."""
    changes: tuple[dict[str, Any], ...]
    """Arms against twins and the contrasts that the definition names, in UA or mean CCC; empty without such
    contrasts."""
    changes_said: tuple[str, ...]
    policies: pd.DataFrame
    """Nominal against realised ratio by policy."""
    counts: pd.DataFrame
    """What systems set aside, fell back on or hid (`counts.counts_table`)."""
    measured: str
    """What the validation losses were measured on; empty when there are none."""
    banners: tuple[Banner, ...]
    protocols: dict[str, tuple[str, ...]]
    """Protocol in words, one line per sentence → names of its arms."""
    published: tuple[PublishedRow, ...]
    further: Further
    drawings: tuple[Drawing, ...]

    @property
    def name(self) -> str:
        return self.sweep.plan.sweep

    @property
    def absent(self) -> tuple[Outcome, ...]:
        """Planned trials that are not complete."""
        return tuple(outcome for outcome in self.sweep.outcomes if outcome.status != "complete")

    def corpus(self) -> dict[str, Any] | None:
        """Name, fingerprint, utterances, quarantined (reason → n), classes, incomplete; None without any record."""
        records = self.sweep.records
        return records[0].corpus.model_dump() if records else None

    def corpora(self) -> list[tuple[Role, CorpusEntry]]:
        """Every corpus behind the records, with what it is for; the evaluated one first."""
        return sweep_corpora(self.sweep.records)

    def cost(self) -> dict[str, Any]:
        """What the recorded trials used together, whatever their status."""
        costs = [record.cost for record in self.sweep.records if record.cost is not None]
        return {
            "trials": len(costs),
            "steps": sum(cost.steps for cost in costs),
            "frames": sum(cost.frames for cost in costs),
            "device_seconds": sum(cost.device_seconds for cost in costs),
        }

    def provenance(self) -> dict[str, Any]:
        """Commits, package versions, hardware and times of the recorded trials."""
        entries = [record.provenance for record in self.sweep.records]
        packages: dict[str, set[str]] = {}
        for entry in entries:
            for name, version in entry.packages.items():
                packages.setdefault(name, set()).add(version)
        return {
            "commits": sorted({entry.commit + (" (uncommitted changes)" if entry.dirty else "") for entry in entries}),
            "packages": {name: sorted(versions) for name, versions in sorted(packages.items())},
            "hardware": sorted({entry.hardware for entry in entries}),
            "started": min((entry.started for entry in entries), default=None),
            "ended": max((entry.ended for entry in entries), default=None),
        }

    def as_json(self) -> dict[str, Any]:
        """The content of `report.json`."""
        trials = {arm.key: [self._trial(outcome) for outcome in arm.outcomes] for arm in self.sweep.arms.values()}
        return {
            "schema_version": 2,
            "sweep": self.name,
            "opening": asdict(self.opening) if self.opening else None,
            "key_result": "\n\n".join(self.key_results),
            "tally": self.tally,
            "floor": "\n\n".join(self.floor),
            "banners": [asdict(banner) for banner in self.banners],
            "chosen_arm_keys": self.chosen,
            "picked": [asdict(one) for one in self.picked],
            "specificity": {
                "sentences": list(map(list, self.specificity)),
                "rows": specificity_table(self.controls),
            },
            "changes": {"sentences": list(self.changes_said), "rows": list(self.changes)},
            "corpus": self.corpus(),
            "corpora": [{"role": role} | entry.model_dump() for role, entry in self.corpora()],
            "protocols": [{"text": text, "arms": list(arms)} for text, arms in self.protocols.items()],
            "definitions": list(definitions(METRIC_DEFINITIONS, self.sweep.systems, self.sweep.answers)),
            "results": [row | {"trials": trials[row["arm_key"]]} for row in as_rows(self.results)],
            "comparisons": as_rows(self.comparisons),
            "policies": as_rows(self.policies),
            **({"counts": as_rows(self.counts)} if len(self.counts) else {}),
            "figures": {drawing.name: as_rows(drawing.data) for drawing in self.drawings},
            "published": [asdict(row) for row in self.published],
            **self.further.as_json(),
            "cost": self.cost(),
            "provenance": self.provenance(),
        }

    def _trial(self, outcome: Outcome) -> dict[str, Any]:
        planned = outcome.planned
        return {
            "trial_key": planned.trial_key,
            "seed": planned.seed,
            "status": outcome.status,
            "reason": outcome.reason or None,
            "run": self.logged.pages.get(planned.trial_key),
        }


def gather(
    sweep: Sweep, tests: Mapping[str, AnyPart], *, opening: Opening | None, logged: Logged | None = None,
    resamples: int = RESAMPLES, seed: int = 0,
) -> Report:  # fmt: skip
    """Compute every table, sentence and figure. The same records, resamples and seed give the same content.

    What is about classes (other metrics, importance, confusions) leaves arms that answer with dimensions out.
    """
    results = results_table(sweep, tests, seed=seed)
    comparisons = comparisons_table(sweep, tests, resamples=resamples, seed=seed)
    chosen = choose_arms(results, comparisons)
    controls = findings(results, comparisons)
    changes = change_rows(results, comparisons, sweep.arms)
    classes = sweep.of("classes")
    counted = {key: part for key, part in tests.items() if isinstance(part, Part)}
    of_classes = {group: key for group, key in chosen.items() if key in classes.arms}
    further = look_further(classes, counted, comparisons, of_classes, resamples=resamples, seed=seed)
    drawn = _drawings(classes, counted, of_classes, logged or Logged())
    of_chosen = [[one for one in controls if one.arm["arm_key"] == key] for key in chosen.values()]
    return Report(
        sweep=sweep,
        logged=logged or Logged(),
        opening=opening,
        results=results,
        comparisons=comparisons,
        chosen=chosen,
        key_results=key_results(chosen, results, comparisons),
        picked=picked_arms(comparisons, chosen),
        tally=tally_sentence(comparisons),
        floor=floor_sentences(comparisons),
        controls=tuple(controls),
        specificity=tuple(tuple(specificity_sentences(found)) for found in of_chosen if found),
        changes=tuple(changes),
        changes_said=tuple(changes_sentences(changes)),
        policies=policy_table(results),
        counts=counts_table(sweep),
        measured=measured_sentence([record for arm in sweep.arms.values() for record in arm.records]),
        banners=tuple(banners(sweep, results)),
        protocols=_protocols(sweep),
        published=read_published(sweep.records[0].corpus.name) if sweep.records else (),
        further=further,
        drawings=(*_of_tables(sweep, comparisons), *drawn, *_of_masks(sweep, results), *further.drawings),
    )


def _protocols(sweep: Sweep) -> dict[str, tuple[str, ...]]:
    found: dict[str, dict[str, None]] = {}
    for arm in sweep.planned:
        for outcome in arm.outcomes:
            if outcome.record is not None:
                found.setdefault("\n".join(protocol_sentences(outcome.record)), {})[arm.name] = None
    return {text: tuple(names) for text, names in found.items()}


def _of_tables(sweep: Sweep, comparisons: pd.DataFrame) -> list[Drawing]:
    drawn = [*draw_differences(comparisons, sweep.arms), *draw_heatmaps(comparisons, sweep.arms)]
    return [*drawn, *draw_changes(comparisons)]


def _of_masks(sweep: Sweep, results: pd.DataFrame) -> list[Drawing]:
    return [*draw_ratios(results), *draw_losses(one_per_upstream(results, sweep))]


def _drawings(
    sweep: Sweep, tests: Mapping[str, Part], chosen: Mapping[str, str], logged: Logged
) -> tuple[Drawing, ...]:
    """Of the chosen arms that answer with classes, and their twins."""
    drawn: list[Drawing] = []
    pairs = [(sweep.arms[key], sweep.arms[sweep.arms[key].twin_key or ""]) for key in chosen.values()]
    if pairs:
        drawn += [draw_confusions(pairs, tests), draw_speakers(pairs, tests)]
        found = [draw_reliability(pairs, trials_root=sweep.trials_root), _learning(pairs, logged)]
        found.append(draw_examples(pairs, trials_root=sweep.trials_root))
        drawn += [drawing for drawing in found if drawing is not None]
    return tuple(drawn)


def _learning(pairs: Sequence[tuple[Arm, Arm]], logged: Logged) -> Drawing | None:
    drawn = {record.trial_key for pair in pairs for arm in pair for record in arm.records}
    return draw_learning(pairs, logged.curves(drawn, CURVES) if logged.curves else None)
