"""What a person sees of the add-on in Thunderbird, and changes there; an add-on that is blocked."""

import socket
from collections.abc import Iterator

import pytest
from harness.daemon import until
from mail_programs.desk import DEBIAN_12, Desk, desks, until_has, until_quiet
from mail_programs.page import Page
from mail_programs.thunderbird import ADDON, Thunderbird

_ACTIVE = """
const { AddonManager } = ChromeUtils.importESModule("resource://gre/modules/AddonManager.sys.mjs");
return (await AddonManager.getAddonByID(args[0])).isActive;
"""


@pytest.fixture(scope="module")
def desk() -> Iterator[Desk]:
    with desks(DEBIAN_12) as desk:
        desk.bell.start()
        yield desk


@pytest.fixture(scope="module")
def running(desk: Desk) -> Iterator[Thunderbird]:
    with desk.thunderbird() as thunderbird:
        yield thunderbird


@pytest.fixture
def thunderbird(desk: Desk, running: Thunderbird) -> Thunderbird:
    """Connected, and with nothing to do."""
    running.until_state("connected")
    until_quiet(running, *desk.both)
    return running


@pytest.fixture
def page(thunderbird: Thunderbird) -> Page:
    return Page(thunderbird)


def test_a_person_sees_that_it_is_connected_and_what_it_did(
    desk: Desk, thunderbird: Thunderbird, page: Page
) -> None:
    page.until_says("Connected since ", "headline")
    desk.deliver("seen-on-the-page", desk.imap)
    desk.bell.ring("work")
    until_has(thunderbird, "seen-on-the-page", desk.imap)
    page.until_says("account work", "last-ring")
    until(lambda: "not yet" not in page.text("accounts"), "the time of a fetch of each account")
    page.until_says("Ready", "accounts")


def test_a_person_sees_why_it_is_not_connected(
    desk: Desk, thunderbird: Thunderbird, page: Page
) -> None:
    forbidden = desk.machine.shared / "forbidden.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(forbidden))
        forbidden.chmod(0o600)
        listener.listen()
        try:
            thunderbird.set(socket=str(forbidden))
            page.until_says("No permission: join the group mailbell, then log in again", "headline")
            page.until_says("sudo usermod --append --groups mailbell", "command")
            thunderbird.set(socket="/nowhere/mailbell.sock")
            page.until_says("mailbelld does not run here", "headline")
            page.until_says("/nowhere/mailbell.sock", "advice")
        finally:
            thunderbird.set(socket="")
            forbidden.unlink()
    page.until_says("Connected since ", "headline")


def test_a_person_writes_which_names_ring_an_account(thunderbird: Thunderbird, page: Page) -> None:
    page.write("names.server2", "club, verein")
    page.write("gap", "0.5")
    page.click("save")
    page.until_says("too small or too great", "field-gap-problem")
    page.until_says("Not saved", "saved")
    page.write("gap", "1.5")
    page.click("save")
    page.until_says("Saved", "saved")
    try:
        names = {one["key"]: one["names"] for one in thunderbird.status()["accounts"]}
        assert names == {"server1": None, "server2": ["club", "verein"]}
        assert page.text("field-gap-problem") == ""
    finally:
        thunderbird.set(names={}, gap=1000)


def test_a_setting_that_an_administrator_fixed_is_shown_as_locked(
    thunderbird: Thunderbird, page: Page
) -> None:
    name = "extensions.mailbell.settle"
    thunderbird.run("Services.prefs.lockPref(args[0]);", name)
    try:
        page.reload()
        page.until_says("Locked by your administrator", "field-settle-lock")
        assert page.run("return document.getElementById('field-settle').readOnly;")
    finally:
        thunderbird.run("Services.prefs.unlockPref(args[0]);", name)


def test_a_blocked_add_on_is_active_again_when_it_is_permitted_by_name(
    thunderbird: Thunderbird,
) -> None:
    """As docs/thunderbird.md has it: `extensions.experiments.suppressed`, and its cure."""
    suppressed, allowed = (f"extensions.experiments.{name}" for name in ("suppressed", "allowed"))
    thunderbird.prefer(suppressed, True)
    try:
        until(lambda: not thunderbird.run(_ACTIVE, ADDON), "the end of the add-on")
        thunderbird.prefer(allowed, f"tbpro-add-on@thunderbird.net,owl@beonex.com,{ADDON}")
        # Thunderbird looks at its add-ons when it starts, and when this preference changes.
        thunderbird.prefer(suppressed, False)
        thunderbird.prefer(suppressed, True)
        until(lambda: thunderbird.run(_ACTIVE, ADDON), "the add-on")
        thunderbird.until_state("connected")
    finally:
        thunderbird.prefer(suppressed, False)
