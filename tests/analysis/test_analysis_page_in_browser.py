"""The page as people use it: sorted, filtered, switched to dark, walked through with the keyboard, printed."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from pathlib import Path

import pandas as pd
import pytest
from synthetic_sweep import LOSSES, SyntheticArm, SyntheticSweep, grid, published_arms, published_contrasts

pytest.importorskip("playwright", reason="playwright is not installed")

from browser import Scheme, chromium, opened
from playwright.sync_api import Browser, Locator, Page

from analysis.logged import Logged
from analysis.report import write_report

pytestmark = pytest.mark.slow

A4 = 595.0
"""Width of a page, points."""


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two upstreams, controls, named changes, a failed and some missing trials: every section there is."""
    root = tmp_path_factory.mktemp("sweep")
    arms = [*published_arms("mockingjay"), *published_arms("npc"), *grid((0.15, 0.3), (1.0, "inf"), (7,))]
    sweep = SyntheticSweep(
        root=root,
        arms=tuple(arms),
        seeds=(0, 1),
        contrasts=tuple(published_contrasts("mockingjay") + published_contrasts("npc")),
        outcomes={("npc-topk", 1): "failed", ("ems0.3tinfs7", 0): "missing", ("ems0.3tinfs7", 1): "missing"},
        leaks=("validation shares speakers with training",),
    ).write()
    write_report(trials_root=sweep.trials_root, plan_path=sweep.plan_path, out=root / "report", opened_by="a test")
    return root / "report"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as found:
        yield found


@pytest.fixture
def page(browser: Browser, report: Path) -> Iterator[Page]:
    with opened(browser, report / "index.html") as found:
        yield found


def table(page: Page, caption: str) -> Locator:
    return page.locator(f"table:has(#{caption}-caption)")


def column(rows: Locator, place: int) -> list[str]:
    return [re.sub(r"\s+", " ", text).strip() for text in rows.locator(f":nth-child({place})").all_inner_texts()]


def test_a_click_on_a_heading_sorts_and_the_third_restores_the_plan(page: Page, report: Path) -> None:
    """Against the numbers in `results.csv`; arms without a number stay last either way."""
    results = pd.read_csv(report / "results.csv")
    own = table(page, "results")
    head = own.locator("thead th", has_text="UA, pooled")
    heads = own.locator("tbody th summary")
    planned = heads.all_inner_texts()
    assert planned == list(results["arm"])
    ranked = results.sort_values("pooled_ua", kind="stable", na_position="last")
    head.get_by_role("button").click()
    assert head.get_attribute("aria-sort") == "ascending"
    assert heads.all_inner_texts() == list(ranked["arm"])
    head.get_by_role("button").click()
    assert head.get_attribute("aria-sort") == "descending"
    falling = results.sort_values("pooled_ua", ascending=False, kind="stable", na_position="last")
    assert heads.all_inner_texts() == list(falling["arm"])
    other = own.locator("thead th").first
    other.get_by_role("button").click()
    assert head.get_attribute("aria-sort") is None
    assert heads.all_inner_texts() == sorted(planned, key=_natural)
    for _ in range(2):
        other.get_by_role("button").click()
    assert heads.all_inner_texts() == planned


def _natural(text: str) -> list[tuple[int, int | str]]:
    return [(0, int(part)) if part.isdigit() else (1, part) for part in re.findall(r"\d+|\D+", text)]


def test_a_filter_keeps_the_rows_with_every_word_and_counts_them(page: Page, report: Path) -> None:
    own = table(page, "results")
    box = page.get_by_label("Filter rows").and_(page.locator("[aria-describedby=results-caption]"))
    said = page.locator(".filter", has=page.locator("[aria-describedby=results-caption]")).locator("output")
    arms = list(pd.read_csv(report / "results.csv")["arm"])
    wanted = [arm for arm in arms if "npc" in arm and "topk" in arm]
    assert said.inner_text() == f"{len(arms)} rows"
    box.fill("TOPK  npc")
    visible = own.locator("tbody tr:visible summary")
    assert visible.all_inner_texts() == wanted
    assert said.inner_text() == f"{len(wanted)} of {len(arms)} rows"
    own.locator("thead th").first.get_by_role("button").click()
    assert sorted(visible.all_inner_texts()) == sorted(wanted), "sorting keeps the filter"
    box.press("Escape")
    assert visible.count() == len(arms)
    box.fill("no such arm")
    assert visible.count() == 0
    assert said.inner_text() == f"0 of {len(arms)} rows"
    assert table(page, "differences").locator("tbody tr:visible").count() > 0, "other tables are their own"


def test_a_link_to_an_arm_shows_its_trials_though_it_was_filtered_out(page: Page) -> None:
    page.locator("[aria-describedby=results-caption]").fill("npc")
    link = table(page, "differences").get_by_role("link", name="ems r0.15 t1.0 s7").first
    row = page.locator("[id='arm-ems0.15t1.0s7']")
    assert row.is_hidden()
    link.click()
    row.get_by_text("ems0.15t1.0s7-1").wait_for(state="visible")
    assert row.locator("summary").evaluate("each => each === document.activeElement")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_button_switches_between_light_and_dark(browser: Browser, report: Path, scheme: Scheme) -> None:
    other = "dark" if scheme == "light" else "light"
    with opened(browser, report / "index.html", scheme=scheme) as page:
        ink = page.evaluate("getComputedStyle(document.body).color")
        bright = {"light": False, "dark": True}
        assert _bright(ink) is bright[scheme]
        page.get_by_role("button", name=f"{other.title()} page").click()
        assert _bright(page.evaluate("getComputedStyle(document.body).color")) is bright[other]
        label = page.locator("#figure-differences svg text").first
        assert _bright(label.evaluate("each => getComputedStyle(each).fill")) is bright[other], "figures follow"
        page.get_by_role("button", name=f"{scheme.title()} page").click()
        assert page.evaluate("getComputedStyle(document.body).color") == ink


def _bright(colour: str) -> bool:
    return sum(map(float, re.findall(r"[\d.]+", colour)[:3])) > 3 * 128


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing(browser: Browser, report: Path, scheme: Scheme, width: int) -> None:
    from axe_playwright_python.sync_playwright import Axe

    with opened(browser, report / "index.html", scheme=scheme, width=width) as page:
        page.locator("tbody summary").first.click()
        table(page, "results").locator("thead button").first.click()
        # The page forbids foreign scripts; the tool comes in from outside, past it.
        found = Axe().run(page)
        assert found.violations_count == 0, found.generate_report()
        assert page.evaluate("document.documentElement.scrollWidth") <= width, "only boxes scroll sideways"


def test_the_keyboard_reaches_everything_in_order(page: Page) -> None:
    focus = "document.activeElement"
    page.keyboard.press("Tab")
    assert page.evaluate(f"{focus}.textContent") == "Skip to the content"
    page.keyboard.press("Enter")
    assert page.evaluate(f"{focus}.id") == "content"
    stops = page.evaluate(
        """() => [...document.querySelectorAll("main :is(a[href], button, input, summary, [tabindex='0'])")]
             .filter((each) => each.checkVisibility()).map((each) => each.tagName)"""
    )
    walked = []
    for _ in stops:
        page.keyboard.press("Tab")
        walked.append(page.evaluate(f"{focus}.tagName"))
        width = page.evaluate(f"getComputedStyle({focus}).outlineWidth")
        assert width != "0px", "what has the focus shows it"
    assert walked == stops
    assert {"A", "BUTTON", "INPUT", "SUMMARY"} <= set(walked)
    head = table(page, "results").locator("thead button").nth(3)
    head.focus()
    page.keyboard.press("Enter")
    assert table(page, "results").locator("thead th").nth(3).get_attribute("aria-sort") == "ascending"


def test_print_has_all_rows_and_no_controls(page: Page) -> None:
    for box in page.get_by_label("Filter rows").all():
        box.fill("no such row")
    page.emulate_media(media="print")
    rows = page.locator("tbody tr")
    assert rows.count() == page.locator("tbody tr:visible").count() > 30
    for control in (".filter", "nav", ".theme", ".skip"):
        assert page.locator(control).first.is_hidden(), control
    button = page.locator("thead button").first
    assert button.evaluate("each => getComputedStyle(each).display") == "contents", "or no head on the next page"
    page.set_viewport_size({"width": round(A4 * 96 / 72 - 2 * 12 * 96 / 25.4), "height": 1000})
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "tables fit the paper"
    content = page.pdf(prefer_css_page_size=True)
    assert content.startswith(b"%PDF")
    (size,) = {tuple(map(float, box.split()[2:])) for box in re.findall(rb"/MediaBox \[([^\]]+)\]", content)}
    assert size[0] == pytest.approx(A4, abs=1)


def test_without_scripts_everything_is_there_but_the_controls(browser: Browser, report: Path) -> None:
    with opened(browser, report / "index.html", scripts=False) as page:
        assert page.locator("tbody tr:visible").count() == page.locator("tbody tr").count()
        assert page.locator("input, button").count() == 0
        page.locator("tbody summary").first.click()
        assert page.locator(".trials").first.is_visible()
        page.get_by_role("link", name="Figures").click()
        assert page.url.endswith("#figures")


def test_contents_lead_to_every_section(page: Page) -> None:
    links = page.locator("nav a")
    ids = [str(link.get_attribute("href")).removeprefix("#") for link in links.all()]
    assert ids == page.eval_on_selector_all("h2", "all => all.map((each) => each.id)")
    assert links.all_inner_texts() == page.locator("h2").all_inner_texts()


def long_log(trials: Collection[str], metrics: Collection[str]) -> pd.DataFrame:
    """Twenty thousand points per curve."""
    rows = [(key, metric, step, 1 / (1 + step)) for key in trials for metric in metrics for step in range(20_000)]
    return pd.DataFrame(rows, columns=["trial_key", "metric", "step", "value"])


def test_a_thousand_trials_fit_in_five_megabytes_and_stay_complete(browser: Browser, tmp_path: Path) -> None:
    """A thousand arms of one trial each, all with runs: as many rows and links as a thousand trials can have."""
    ratios = tuple(round(0.05 + 0.01 * place, 2) for place in range(40))
    arms = grid(ratios, (0.25, 0.5, 1.0, 2.0, 4.0, 8.0, "inf"), (4, 7, 14))
    arms += [SyntheticArm(key=f"more{place}", name=f"more {place}") for place in range(1000 - len(arms))]
    with_losses = tuple(SyntheticArm(**{**vars(arm), "losses": LOSSES}) for arm in arms)
    sweep = SyntheticSweep(root=tmp_path, arms=with_losses, seeds=(0,), sessions=3, per_class=(2, 1, 1, 1)).write()
    out = tmp_path / "report"
    pages = {f"{arm.key}-0": f"http://127.0.0.1:5000/#/runs/{place:032x}" for place, arm in enumerate(arms)}
    logged = Logged(pages=pages, shown_by="sweep ui synthetic", curves=long_log)
    paths = {"trials_root": sweep.trials_root, "plan_path": sweep.plan_path, "out": out}
    write_report(**paths, opened_by="a test", logged=logged)
    assert len(list(sweep.trials_root.iterdir())) == 1000
    assert (out / "index.html").stat().st_size < 5_000_000
    assert len(pd.read_csv(out / "figures" / "differences.csv")) == 2 * 840
    with opened(browser, out / "index.html") as page:
        own = table(page, "results")
        assert own.locator("tbody tr").count() == 1000
        assert page.get_by_role("link", name="MLflow run", include_hidden=True).count() == 1000
        assert page.locator("#figure-learning svg").count() == 1
        page.locator("[aria-describedby=results-caption]").fill("r0.3 t8.0 s14")
        wanted = [arm.name for arm in arms if all(word in arm.name for word in ("r0.3", "t8.0", "s14"))]
        assert own.locator("tbody tr:visible summary").all_inner_texts() == wanted
        own.locator("thead button").nth(3).click()
        values = own.locator("tbody tr td:nth-child(4)").evaluate_all("all => all.map((each) => +each.dataset.value)")
        assert values == sorted(values)
