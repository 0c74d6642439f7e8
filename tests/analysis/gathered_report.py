"""A report without its files, for tests that read what it says: drawing and embedding fonts is most of writing one."""

from __future__ import annotations

__all__ = ["gathered", "page_of"]

from html_page import Page
from synthetic_sweep import SyntheticSweep

from analysis.content import Report, gather
from analysis.load import load_sweep, open_test
from analysis.page import html_text

NO_FIGURE = '<svg viewBox="0 0 1 1"></svg>'


def gathered(sweep: SyntheticSweep, *, resamples: int = 200) -> Report:
    """The content of a sweep's report, with few resamples."""
    loaded = load_sweep(plan_path=sweep.plan_path, trials_root=sweep.trials_root)
    return gather(loaded, open_test(loaded), opening=None, resamples=resamples)


def page_of(report: Report) -> Page:
    """Its page, with empty pictures."""
    return Page(html_text(report, svgs={drawing.name: NO_FIGURE for drawing in report.drawings}))
