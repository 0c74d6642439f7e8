"""`sweep report`: records in, a report folder out."""

from __future__ import annotations

__all__ = ["ReportSummary", "write_report"]

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from analysis.collector import collector_paused
from analysis.content import Report, gather
from analysis.export import csv_text, json_text
from analysis.joined import JOINED
from analysis.latex import latex_text
from analysis.load import load_sweep, open_test
from analysis.logged import Logged
from analysis.markdown import markdown_text, tables_text
from analysis.numbers import macros_text, numbers_of
from analysis.openings import Opening, record_opening
from analysis.page import html_text
from analysis.paragraphs import paragraphs_latex
from analysis.svg import pdf_bytes, svg_text
from core.errors import BadInputError

FIGURES = (
    *("changes", "changes-*", "confusions", "differences", "differences-*", "examples", "heatmap", "heatmap-*"),
    *(
        "best-of",
        "effects",
        "effects-*",
        "learning",
        "pretraining",
        "pretraining-*",
        "ratios",
        "ratios-*",
        "reliability",
        "speakers",
    ),
)
"""Names of the figures there may be; those of an earlier report are removed."""


@dataclass(frozen=True, kw_only=True)
class ReportSummary:
    """What was written, and how the sweep stands."""

    sweep: str
    out: Path
    n_complete: int
    n_expected: int
    n_failed: int
    n_missing: int
    opening: Opening | None
    """This look at the test part, with how many there have been; None when there was nothing to read."""
    key_result: str
    banners: tuple[str, ...]
    tables: str
    """Results and comparisons as in `results.md`, percent."""
    content: dict[str, Any]
    """The content of `report.json`, shares."""

    @property
    def openings(self) -> int:
        """How often the test part has been read, this time included; 0 when there was nothing to read."""
        return self.opening.number if self.opening else 0

    def as_text(self) -> str:
        """What the terminal shows: the tables, how often the test part was read, where the page is."""
        read = f"test read {self.opening.times}" if self.opening else "test not read: no trial is complete"
        runs = "; ".join(f"sweep ui {name}" for name in self.sweep.split(JOINED))
        return f"{self.tables}\n\n{read}\npage: {self.out / 'index.html'}\nruns: {runs}"

    def as_json(self) -> dict[str, Any]:
        """What `--json` prints: the content of `report.json` and the folder it lies in."""
        return self.content | {"out": str(self.out)}


@collector_paused()
def write_report(
    *, trials_root: Path, plan_path: Path, out: Path, opened_by: str, logged: Logged | None = None
) -> ReportSummary:
    """Write the report folder of a sweep and log this look at its test part in `openings.jsonl` beside the plan.

    Writes `index.html`, `results.{csv,md,tex}`, `numbers.tex`, `paragraphs.tex`, `report.json`,
    `{comparisons,verdicts,fronts,budgets,importance}.csv` and `figures/*.{svg,pdf,csv}`. The same records give the same
    bytes, except for the count, time and author of the opening (three lines in `index.html`; its own lines in
    `numbers.tex`, one entry in `report.json`). `logged`: runs and curves of the trials, where they are at hand.

    Raises BadInputError for a plan or record that cannot be used, metrics that their predictions do not give, and when
    the folder cannot be written.
    """
    sweep = load_sweep(plan_path=plan_path, trials_root=trials_root)
    complete = sum(outcome.status == "complete" for outcome in sweep.outcomes)
    log = plan_path.with_name("openings.jsonl")
    opening = record_opening(log, by=opened_by, trials=complete) if complete else None
    report = gather(sweep, open_test(sweep), opening=opening, logged=logged or Logged())
    content = report.as_json()
    try:
        _write(report, content, out)
    except OSError as error:
        raise BadInputError(f"{error.filename or out}: the report cannot be written ({error.strerror})") from error
    statuses = [outcome.status for outcome in sweep.outcomes]
    return ReportSummary(
        sweep=report.name,
        out=out,
        n_complete=complete,
        n_expected=len(statuses),
        n_failed=statuses.count("failed"),
        n_missing=statuses.count("missing"),
        opening=opening,
        key_result="\n\n".join(report.key_results),
        banners=tuple(banner.text for banner in report.banners),
        tables=tables_text(report),
        content=content,
    )


def _write(report: Report, content: dict[str, Any], out: Path) -> None:
    figures = out / "figures"
    figures.mkdir(parents=True, exist_ok=True)
    for name in FIGURES:
        for ending in ("svg", "pdf", "csv"):
            for stale in figures.glob(f"{name}.{ending}"):
                stale.unlink()
    svgs = {drawing.name: svg_text(drawing.figure) for drawing in report.drawings}
    for drawing in report.drawings:
        (figures / f"{drawing.name}.svg").write_text(svgs[drawing.name], encoding="utf-8")
        (figures / f"{drawing.name}.pdf").write_bytes(pdf_bytes(drawing.figure))
        (figures / f"{drawing.name}.csv").write_text(csv_text(drawing.data), encoding="utf-8")
    texts = {
        "results.csv": csv_text(report.results),
        "results.md": markdown_text(report),
        "results.tex": latex_text(report),
        "numbers.tex": macros_text(numbers_of(report)),
        "paragraphs.tex": paragraphs_latex(report),
        "comparisons.csv": csv_text(report.comparisons),
        **{f"{name}.csv": csv_text(table) for name, table in report.further.tables.items()},
        "report.json": json_text(content),
        "index.html": html_text(report, svgs=svgs),
    }
    for name, text in texts.items():
        (out / name).write_text(text, encoding="utf-8", newline="\n")
