"""One Chromium and one control plane for all tests of the page; a fresh page for each test, which must stay clean."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.page.stage import Stage

LIMIT_MS = 30_000

Open = Callable[..., Page]


@pytest.fixture(scope="package")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with Stage(tmp_path_factory.mktemp("page")) as running:
        yield running


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """Return a headless Chromium: $CHROMIUM, or the one on the path."""
    path = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
    assert path, "the tests of the page need Chromium: apt-get install chromium, or name one in $CHROMIUM"
    flags = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=path, args=flags)
        yield chromium
        chromium.close()


@pytest.fixture
def opened(stage: Stage, browser: Browser) -> Iterator[Open]:
    """Return a function that opens the page in a new window. At the end no window may have had an error, nor asked
    another host for anything; errors that a test provokes it names by
    words of what the console says of them.
    """
    expect.set_options(timeout=LIMIT_MS)
    errors: list[str] = []
    said: list[tuple[str, str]] = []
    asked: list[str] = []
    expected: list[str] = []

    def open_page(*failing: str) -> Page:
        page = browser.new_context(viewport={"width": 1400, "height": 1000}).new_page()
        page.set_default_timeout(LIMIT_MS)
        expected.extend(failing)
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("console", lambda line: said.append((line.type, f"{line.text} {line.location['url']}")))
        page.on("request", lambda request: asked.append(request.url))
        page.goto(stage.base + "/")
        expect(page.locator("#link")).to_have_text("live")
        expect(page.locator("#regions tbody tr")).to_have_count(4)
        return page

    yield open_page
    for context in browser.contexts:
        context.close()
    errors += [text for kind, text in said if kind == "error"]
    assert [error for error in errors if not any(words in error for words in expected)] == []
    assert [url for url in asked if not url.startswith(stage.base + "/")] == []
