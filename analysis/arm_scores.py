"""Every score of a trial's test part, with all speakers and without each of them: worked out once per trial.

Letters in names: F folds, S speakers, C classes, B bins.
"""

from __future__ import annotations

__all__ = ["MOST_READ", "Scores"]

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from analysis.calibration_error import calibration_errors, read_answers
from analysis.load import Part, Sweep
from analysis.speaker_scores import class_recalls, macro_f1s, without_each
from core.records import Record

MOST_READ = 1_500_000
"""Test answers of all trials up to which the class scores of all are read; beyond, those of the named arms alone."""


class Scores:
    """Scores of complete trials. Reads test predictions: use it within an opening that is on record.

    `always`: keys of arms whose class scores are read however large the sweep is (the chosen ones and their twins).
    """

    def __init__(self, sweep: Sweep, tests: Mapping[str, Part], *, always: tuple[str, ...] = ()) -> None:
        self._sweep, self._tests = sweep, tests
        self._found: dict[str, dict[str, NDArray[np.float64]]] = {}
        answers = sum(int(part.counts.sum()) for part in tests.values())
        self._read = set(always) if answers > MOST_READ else set(sweep.arms)

    @property
    def complete(self) -> bool:
        """Whether class scores are read of every arm."""
        return self._read >= set(self._sweep.arms)

    def of(self, record: Record) -> dict[str, NDArray[np.float64]]:
        """Metric → its value with all speakers (first) and without each, shape (1 + S).

        macro_f1, worst_recall; calibration_error and calibration_error_debiased where class scores are there and read;
        ua and wa of all speakers alone, shape (1).
        """
        if record.trial_key not in self._found:
            self._found[record.trial_key] = self._scores(record)
        return self._found[record.trial_key]

    def _scores(self, record: Record) -> dict[str, NDArray[np.float64]]:
        part = self._tests[record.trial_key]
        counts_XFCC = without_each(part.counts)
        found = {
            "macro_f1": macro_f1s(counts_XFCC),
            # A class that only one speaker has is not there without that one: the worst of the others.
            "worst_recall": np.fmin.reduce(class_recalls(counts_XFCC), axis=1),
        }
        if record.metrics is not None:
            found |= {name: np.array([record.metrics.mean["test"][name]]) for name in ("ua", "wa")}
        if record.arm_key not in self._read:
            return found
        answers = read_answers(self._sweep.folder(record), record=record, split="test", speakers=part.speakers)
        if answers is None:
            return found
        sides = [
            np.concatenate([each_SB.sum(axis=0)[None], each_SB.sum(axis=0) - each_SB])
            for each_SB in (answers.n_SB, answers.confidence_SB, answers.right_SB)
        ]
        plain, debiased = calibration_errors(*sides)
        return found | {"calibration_error": plain, "calibration_error_debiased": debiased}
