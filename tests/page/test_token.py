"""A server that wants a token: the page asks for it, and keeps it to itself."""

from __future__ import annotations

from pathlib import Path

from click.testing import CliRunner
from playwright.sync_api import Browser, expect

from tests.page.conftest import LIMIT_MS
from tests.page.stage import Stage
from xds_server.cli import main


def test_the_page_asks_for_a_token_until_it_has_one_and_keeps_it_in_its_tab(tmp_path: Path, browser: Browser) -> None:
    made = CliRunner().invoke(main, ["token", "anna", "--role", "view"])
    token, line = [text for text in made.output.splitlines() if text.strip()][:2]
    tokens = tmp_path / "tokens"
    tokens.write_text(line + "\n")
    tokens.chmod(0o600)
    expect.set_options(timeout=LIMIT_MS)
    with Stage(tmp_path, "--admin-tokens", str(tokens)) as stage:
        context = browser.new_context()
        page = context.new_page()
        page.goto(stage.base + "/")
        page.get_by_role("dialog").get_by_role("button", name="Cancel").click()
        expect(page.get_by_role("alert")).to_contain_text("the server wants a token")
        page.get_by_role("button", name="Give a token").click()
        for given in ("xds_wrong", token):
            page.get_by_role("textbox", name="token").fill(given)
            page.keyboard.press("Enter")
            if given != token:
                expect(page.get_by_role("dialog")).to_contain_text("did not take the last one")
        expect(page.locator("#link")).to_have_text("live")
        expect(page.get_by_role("dialog")).to_have_count(0)
        page.reload()
        expect(page.locator("#link")).to_have_text("live")
        assert page.evaluate("[document.cookie, localStorage.length]") == ["", 0]
        page.locator("button[data-region=us-east-1]").click()  # who may only look is told so
        expect(page.get_by_role("dialog").get_by_role("alert")).to_contain_text("this needs operate")
        other = context.new_page()
        other.goto(stage.base + "/")
        expect(other.get_by_role("dialog")).to_contain_text("A token is wanted")
        context.close()
