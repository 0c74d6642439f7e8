"""What a report says beyond arms against twins in UA: other metrics, the same cost, what matters."""

from __future__ import annotations

__all__ = ["Further", "look_further"]

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from analysis.arm_scores import Scores
from analysis.best_of import best_of_table, draw_best_of
from analysis.budget import budget_sentences, budget_table
from analysis.figures import Drawing
from analysis.importance import importance_sentences, importance_table, importances
from analysis.load import Part, Sweep
from analysis.pareto import front_sentences, front_table
from analysis.ped_anova import ped_anova_table
from analysis.surface import draw_effects
from analysis.tables import as_rows
from analysis.verdict import verdict_sentences, verdict_table


@dataclass(frozen=True, kw_only=True)
class Further:
    """Tables in shares, each with the sentences that it allows."""

    verdicts: pd.DataFrame
    verdicts_said: tuple[str, ...]
    fronts: pd.DataFrame
    fronts_said: tuple[str, ...]
    budgets: pd.DataFrame
    budgets_said: tuple[str, ...]
    importance: pd.DataFrame
    best_quarter: pd.DataFrame
    """PED-ANOVA; empty where the grid is full or the arms are few."""
    importance_said: tuple[str, ...]
    drawings: tuple[Drawing, ...]

    @property
    def tables(self) -> dict[str, pd.DataFrame]:
        """Name of its CSV file → table."""
        return {
            "verdicts": self.verdicts, "fronts": self.fronts, "budgets": self.budgets, "importance": self.importance,
        }  # fmt: skip

    def as_json(self) -> dict[str, Any]:
        said = {
            "verdicts": self.verdicts_said, "fronts": self.fronts_said, "budgets": self.budgets_said,
            "importance": self.importance_said,
        }  # fmt: skip
        found: dict[str, Any] = {
            name: {"sentences": list(said[name]), "rows": as_rows(table)} for name, table in self.tables.items()
        }
        found["importance"]["best_quarter"] = as_rows(self.best_quarter)
        return found


def look_further(
    sweep: Sweep, tests: Mapping[str, Part], comparisons: pd.DataFrame, chosen: Mapping[str, str], *, resamples: int,
    seed: int,
) -> Further:  # fmt: skip
    """`chosen`: upstream → key of its arm that validation chose."""
    twins = tuple(sweep.arms[key].twin_key or "" for key in chosen.values())
    scores = Scores(sweep, tests, always=(*chosen.values(), *twins))
    budgets = budget_table(sweep, tests, comparisons, resamples=resamples, seed=seed)
    matter, refused = importances(sweep)
    importance = importance_table(matter)
    verdicts = verdict_table(sweep, scores, comparisons, resamples=resamples, seed=seed)
    fronts = front_table(sweep, scores)
    drawn = (draw_best_of(best_of_table(sweep)), *draw_effects(matter))
    return Further(
        verdicts=verdicts,
        verdicts_said=tuple(verdict_sentences(verdicts, chosen)),
        fronts=fronts,
        fronts_said=tuple(front_sentences(fronts)),
        budgets=budgets,
        budgets_said=tuple(budget_sentences(budgets)),
        importance=importance,
        best_quarter=ped_anova_table(matter),
        importance_said=(*importance_sentences(matter, importance), *refused),
        drawings=tuple(drawing for drawing in drawn if drawing is not None),
    )
