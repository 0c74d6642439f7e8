"""A headless Chromium for tests that click, or why there is none."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome")
FLAGS = ("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking")
Scheme = Literal["light", "dark"]


@contextmanager
def chromium() -> Iterator[Browser]:
    """Skips the test where the machine has no Chromium: `$CHROMIUM`, else the first of NAMES on the path."""
    path = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)
    if path is None:
        pytest.skip("no Chromium: set CHROMIUM or install one")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=list(FLAGS))
        yield browser
        browser.close()


@contextmanager
def opened(
    browser: Browser, path: Path, *, scheme: Scheme = "light", width: int = 1280, scripts: bool = True
) -> Iterator[Page]:
    """A page of a file, without network; fails at the end when it logged to the console, or asked for anything else."""
    context = browser.new_context(
        viewport={"width": width, "height": 900}, color_scheme=scheme, offline=True, java_script_enabled=scripts
    )
    page = context.new_page()
    problems: list[str] = []
    page.on("console", lambda message: problems.append(f"{message.type}: {message.text}"))
    page.on("pageerror", lambda error: problems.append(f"error: {error}"))
    url = path.resolve().as_uri()

    def asked(address: str) -> None:
        if address.split("#")[0] != url and not address.startswith("data:"):
            problems.append(f"asked for {address}")

    page.on("request", lambda request: asked(request.url))
    page.goto(url)
    yield page
    context.close()
    assert problems == []
