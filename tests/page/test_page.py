"""The web page in a real Chromium, in front of a real `xds-server serve`."""

from __future__ import annotations

import re
from pathlib import Path

from click.testing import CliRunner
from playwright.sync_api import Page, expect

from tests.page.conftest import Open
from tests.page.stage import REGIONS, Stage
from tests.support.envoy import EnvoyProcess
from xds_server.cli import main


def ribbons(page: Page) -> set[str]:
    """Return the flows that are drawn, as `view>region`."""
    return set(page.eval_on_selector_all(".ribbon", "paths => paths.map(path => path.dataset.key)"))


def row(page: Page, region: str) -> str:
    return page.locator("#regions tbody tr", has=page.get_by_role("rowheader", name=region)).inner_text()


def box(page: Page, region: str) -> float:
    """Return how high the box of a region is drawn."""
    height: float = page.locator(f'[data-key="room of {region}"]').evaluate("path => path.getBBox().height")
    return height


def test_it_shows_everything_and_needs_nothing_from_elsewhere(stage: Stage, opened: Open) -> None:
    page = opened()
    expect(page.locator("#state")).to_contain_text("4 regions, all well")
    expect(page).to_have_title(re.compile("xds-server"))
    assert {f"{name}>{name}" for name in REGIONS} <= ribbons(page)
    expect(page.locator("#plan tbody tr")).to_have_count(7)
    expect(page.locator("#weights tbody tr")).to_have_count(4)
    expect(page.locator("#history")).to_contain_text(re.compile(r"server\.ready|weights\.changed|region\.up"))
    expect(page.locator("#policy")).to_contain_text(stage.api("/api/v1/policy")["digest"])
    expect(page.locator("#alarms")).to_contain_text("No client is connected")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_it_is_dark_or_light_and_fits_a_narrow_window(opened: Open) -> None:
    page = opened()
    for scheme, darkest, lightest in (("light", 200, 255), ("dark", 0, 50)):
        page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
        colour = page.evaluate("getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)")
        assert darkest <= min(colour)
        assert max(colour) <= lightest
    for width in (360, 820):
        page.set_viewport_size({"width": width, "height": 800})
        assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_a_service_is_shown_with_the_reason_of_each_weight(opened: Open) -> None:
    page = opened()
    assert "from sa-east-1: 160 req/s" in page.locator('[data-key="from sa-east-1"]').get_attribute("aria-label")  # type: ignore[operator]
    page.locator("#service").select_option("search")
    expect(page.locator("#regions tbody")).to_contain_text("not deployed here")
    page.hover('[data-key="sa-east-1>us-east-1"]')
    expect(page.locator("#readout")).to_contain_text("sa-east-1 → us-east-1: 10 req/s")
    expect(page.locator("#readout")).to_contain_text("120 ms")
    expect(page.locator("#plan tbody tr")).to_have_count(3)


def test_an_envoy_that_connects_is_shown_with_what_it_runs(stage: Stage, opened: Open, tmp_path: Path) -> None:
    page = opened()
    expect(page.locator("#fleet")).to_have_text("no client is connected")
    words = ["bootstrap", "--region", "us-east-1", "--id", "web-1", "--xds", stage.xds, "--admin-port", "0"]
    bootstrap = CliRunner().invoke(main, words).stdout
    with EnvoyProcess(tmp_path, bootstrap):
        expect(page.locator("#fleet-note")).to_have_text("1 client, 1 up to date, 0 rejecting")
        page.get_by_text("Each client, and what it runs").click()
        shown = page.get_by_role("table", name="Each client").locator("tbody tr")
        expect(shown).to_contain_text("envoy, sotw")
        assert shown.locator(".mark.healthy").count() >= 4
    expect(page.locator("#fleet")).to_have_text("no client is connected")


def test_a_kill_is_seen_while_it_happens(stage: Stage, opened: Open) -> None:
    page = opened()
    page.locator("#service").select_option("checkout")
    stage.regions["us-east-1"].kill()
    expect(page.locator("#state")).to_contain_text("us-east-1 down")
    expect(page.locator("#alarms")).to_contain_text(re.compile("checkout.* in us-east-1"))
    expect(page).to_have_title(re.compile("^✕ us-east-1 down"))
    expect(page.locator("#history")).to_contain_text("checkout in us-east-1 is down")
    expect(page.locator('[data-key="us-east-1>us-east-1"]')).to_have_count(0)
    assert "us-east-1>eu-west-1" in ribbons(page)
    assert "connection refused" in row(page, "us-east-1")
    cell = page.locator('#weights tr[data-key="us-east-1"] td').nth(1)
    expect(cell).to_have_text(re.compile(r"^\d+ %$"))
    expect(cell.get_by_role("img")).to_have_attribute("aria-label", re.compile("in this hour between 0 %"))
    late = opened()
    assert box(late, "us-east-1") > 1.4 * box(late, "eu-west-1"), "it is as large as its capacity when it is well"
    stage.regions["us-east-1"].restore()
    expect(page.locator('[data-key="us-east-1>eu-west-1"]')).to_have_count(0)
    expect(page.locator("#state")).to_contain_text("all well")


def test_a_refused_policy_is_shown_with_every_error(stage: Stage, opened: Open) -> None:
    page = opened()
    good = stage.policy.read_text()
    stage.policy.write_text(good.replace("ramp_up: 1s", "ramp_up: soon\n  <b>no</b>: 1"))
    expect(page.locator("#alarms")).to_contain_text("the policy file is refused")
    expect(page.locator("#policy li")).to_have_count(2)
    expect(page.locator("#policy")).to_contain_text("<b>no</b>")
    stage.policy.write_text(good)
    expect(page.locator("#policy")).to_contain_text("nothing was refused")


def test_it_says_when_it_is_cut_off_and_comes_back_by_itself(stage: Stage, opened: Open) -> None:
    page = opened("ERR_CONNECTION_REFUSED", "ERR_INCOMPLETE_CHUNKED_ENCODING")
    stage.stop()
    cut = page.get_by_role("alert")
    expect(cut).to_have_text(re.compile(r"^Cut off since \d\d:\d\d:\d\d, showing the last known state"))
    expect(page.locator("#link")).to_have_text("cut off")
    assert {f"{name}>{name}" for name in REGIONS} <= ribbons(page)
    stage.start()
    expect(page.locator("#link")).to_have_text("live")
    expect(cut).to_have_count(0)
    expect(page.locator("#history li").first).to_be_visible()


def test_the_picture_can_be_walked_with_the_keyboard(opened: Open) -> None:
    page = opened()
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the traffic")).to_be_focused()
    page.keyboard.press("Enter")
    for _ in range(2):
        page.keyboard.press("Tab")
    heads = set()
    for _ in range(12):
        focused = page.evaluate("document.activeElement.getAttribute('aria-label')")
        head = page.locator("#readout strong").inner_text()
        assert focused.startswith(head)
        heads.add(head)
        page.keyboard.press("ArrowDown")
    assert len(heads) >= 10
