"""Orders given from the page, by a person at the keyboard: evacuate, restore, and what is refused."""

from __future__ import annotations

import json
import re

from playwright.sync_api import Locator, Page, Route, expect

from tests.page.conftest import Open
from tests.page.stage import Stage

CONFLICT = "status of 409"
REFUSED = "status of 422"


def evacuate(page: Page, region: str) -> Locator:
    """Open the dialog, and wait for its plan."""
    row = page.locator("#regions tbody tr", has=page.get_by_role("rowheader", name=region))
    row.get_by_role("button").click()
    dialog = page.get_by_role("dialog", name=f"Evacuate {region}")
    expect(dialog.locator(".one").first).to_be_visible()
    return dialog


def say(dialog: Locator, reason: str) -> None:
    dialog.get_by_label("reason").fill(reason)
    dialog.get_by_label("your name").fill("anna")


def restored(stage: Stage, page: Page) -> None:
    """End every order, as a program does, and wait until the page shows none."""
    for order in stage.api("/api/v1/orders")["orders"]:
        version = stage.api("/api/v1/orders")["version"]
        stage.api(f"/api/v1/orders/{order['id']}/end", {"author": "test", "reason": "over", "if_version": version})
    expect(page.locator("#orders > .faint")).to_have_text("none: automation decides")


def test_evacuate_and_restore_with_the_keyboard_alone(stage: Stage, opened: Open) -> None:
    page = opened()
    button = page.locator("button[data-do=evacuate][data-region=us-east-1]")
    button.focus()
    page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog", name="Evacuate us-east-1")
    expect(dialog.get_by_label("reason")).to_be_focused()
    go = dialog.get_by_role("button", name="Evacuate us-east-1")
    expect(dialog.locator(".one")).to_have_count(2)  # the plan, for both services
    expect(go).to_be_disabled()
    page.keyboard.type("maintenance")
    page.keyboard.press("Tab")
    page.keyboard.type("anna")
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    page.keyboard.type("at once")
    expect(go).to_be_enabled()
    go.focus()
    page.keyboard.press("Enter")
    expect(dialog).to_have_count(0)
    orders = page.locator("#orders li").first
    expect(orders).to_contain_text("maintenance — anna, ends ")
    expect(page.locator('[data-key$=">us-east-1"]')).to_have_count(0)
    expect(orders).to_contain_text("moved, 100 % moved")
    expect(page.locator("#history")).to_contain_text("anna")
    assert [order["author"] for order in stage.api("/api/v1/orders")["orders"]] == ["anna"]

    orders.get_by_role("button", name="Restore…").focus()
    page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog", name="Restore us-east-1")
    expect(dialog.locator(".one tr.row, .one tbody tr")).not_to_have_count(0)
    page.keyboard.type("done")
    expect(dialog.get_by_label("your name")).to_have_value("anna")
    page.keyboard.press("Enter")
    expect(dialog).to_have_count(0)
    expect(page.locator('[data-key="us-east-1>us-east-1"]')).to_have_count(1)
    expect(page.locator("#orders > .faint")).to_have_text("none: automation decides")
    expect(page.locator("#orders details")).to_contain_text("maintenance")


def test_escape_leaves_the_dialog_and_the_focus_where_it_was(opened: Open) -> None:
    page = opened()
    button = page.locator("button[data-do=evacuate][data-region=sa-east-1]")
    button.focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)
    expect(button).to_be_focused()


def test_another_order_meanwhile_is_said_and_its_rules_hold(stage: Stage, opened: Open) -> None:
    page = opened(CONFLICT)
    dialog = evacuate(page, "eu-west-1")
    say(dialog, "a cable")
    version = stage.api("/api/v1/orders")["version"]

    def late(route: Route) -> None:
        body = json.loads(route.request.post_data or "{}")
        if body.get("dry_run"):
            route.continue_()
        else:
            route.continue_(post_data=json.dumps(body | {"if_version": version - 1}))

    page.route("**/api/v1/orders", late)
    dialog.get_by_role("button", name="Evacuate eu-west-1").click()
    expect(dialog.get_by_role("alert")).to_contain_text("somebody gave another order meanwhile")
    expect(dialog.locator(".one").first).to_be_visible()
    assert stage.api("/api/v1/orders")["orders"] == []


def test_what_the_safety_rules_refuse_is_said_before_and_after(stage: Stage, opened: Open) -> None:
    page = opened(REFUSED)
    first = {"kind": "evacuate", "region": "us-east-1", "author": "test", "reason": "first", "over": "0s"}
    stage.api("/api/v1/orders", first)
    expect(page.locator("#orders li").first).to_contain_text("first — test")
    dialog = evacuate(page, "eu-west-1")
    say(dialog, "second")
    expect(dialog.locator(".refused")).to_contain_text("safety rules refuse")
    go = dialog.get_by_role("button", name="Evacuate eu-west-1")
    expect(go).to_be_disabled()
    dialog.get_by_label("override the safety rules").check()
    expect(go).to_be_enabled()

    def unforced(route: Route) -> None:
        body = json.loads(route.request.post_data or "{}")
        route.continue_(post_data=json.dumps(body if body.get("dry_run") else body | {"force": False}))

    page.route("**/api/v1/orders", unforced)
    go.click()
    expect(dialog.get_by_role("alert")).to_have_text(re.compile("^Nothing was ordered: .*us-east-1"))
    dialog.get_by_role("button", name="Cancel").click()
    restored(stage, page)
