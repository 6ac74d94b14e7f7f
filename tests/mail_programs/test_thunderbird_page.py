"""What a person sees of the add-on in Thunderbird, and changes there; an add-on that is blocked."""

import socket
from collections.abc import Iterator
from time import time

import pytest
from harness.daemon import until
from harness.mailserver import HOST
from mail_programs.desk import DEBIAN_12, SOON, Desk, desks, until_has, until_quiet
from mail_programs.page import Page
from mail_programs.thunderbird import ADDON, Thunderbird

_ACTIVE = """
const { AddonManager } = ChromeUtils.importESModule("resource://gre/modules/AddonManager.sys.mjs");
return (await AddonManager.getAddonByID(args[0])).isActive;
"""

_SWITCH = """
const { AddonManager } = ChromeUtils.importESModule("resource://gre/modules/AddonManager.sys.mjs");
const addon = await AddonManager.getAddonByID(args[0]);
await (args[1] ? addon.enable() : addon.disable());
"""

_ADD_ACCOUNT = """
const { MailServices } = ChromeUtils.importESModule("resource:///modules/MailServices.sys.mjs");
const server = MailServices.accounts.createIncomingServer("sigrid", args[0], "imap");
server.port = args[1];
server.password = "a";
return server.key;
"""

_REMOVE_ACCOUNT = """
const { MailServices } = ChromeUtils.importESModule("resource:///modules/MailServices.sys.mjs");
MailServices.accounts.removeIncomingServer(MailServices.accounts.getIncomingServer(args[0]), true);
"""

# The clock of the scripts that are the add-on; nothing else in Thunderbird needs it meanwhile.
_SET_CLOCK = """
const extension = WebExtensionPolicy.getByID(args[0]).extension;
const own = await extension.apiManager.asyncGetAPI("mailbell", extension, "addon_parent");
const { Date } = Cu.getGlobalForObject(own.driver._world.now);
Date.right ??= Date.now;
const { right } = Date;
Date.now = () => right.call(Date) + args[1];
"""

# Thunderbird locks only what there is.
_LOCK = """
Services.prefs.getDefaultBranch("").setIntPref(args[0], 1000);
Services.prefs.lockPref(args[0]);
"""

_UNLOCK = """
Services.prefs.unlockPref(args[0]);
Services.prefs.getDefaultBranch("").deleteBranch(args[0]);
"""

_OWN = """
const names = ["socket", "settle", "gap", "names"];
return names.filter(name => Services.prefs.prefHasUserValue(`extensions.mailbell.${name}`));
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
    thunderbird.run(_LOCK, name)
    try:
        page.reload()
        page.until_says("Locked by your administrator", "field-settle-lock")
        assert page.run("return document.getElementById('field-settle').readOnly;")
    finally:
        thunderbird.run(_UNLOCK, name)


def test_what_an_administrator_fixed_is_not_stored_and_the_rest_is(
    thunderbird: Thunderbird, page: Page
) -> None:
    """The fields that nobody changed are not stored either."""
    name = "extensions.mailbell.settle"
    names = ("socket", "names")
    thunderbird.run("for (const name of args) Services.prefs.clearUserPref(name);",
                    name, *(f"extensions.mailbell.{one}" for one in names))  # fmt: skip
    thunderbird.run(_LOCK, name)
    try:
        assert thunderbird.problems(settle=5) == {"settle": "locked"}
        page.reload()
        page.write("gap", "1.5")
        page.click("save")
        page.until_says("Saved", "saved")
        assert thunderbird.run(_OWN) == ["gap"]
    finally:
        thunderbird.run(_UNLOCK, name)
        thunderbird.set(gap=1000)


def test_a_setting_that_thunderbird_refuses_is_said_and_nothing_is_stored(
    thunderbird: Thunderbird, page: Page
) -> None:
    """An administrator gave a default of another type."""
    name = "extensions.mailbell.settle"
    thunderbird.run("Services.prefs.clearUserPref(args[0]);", name)
    thunderbird.run("Services.prefs.getDefaultBranch('').setStringPref(args[0], 'soon');", name)
    try:
        before = thunderbird.run(_OWN)
        page.write("names.server2", "club, verein")
        page.write("settle", "2")
        page.click("save")
        page.until_says("Not saved", "saved")
        page.until_says("a default of another type", "field-settle-problem")
        assert thunderbird.run(_OWN) == before
        assert [one["names"] for one in thunderbird.status()["accounts"]] == [None, None]
    finally:
        thunderbird.run("Services.prefs.getDefaultBranch('').deleteBranch(args[0]);", name)


def test_a_socket_that_is_no_text_is_no_path(thunderbird: Thunderbird, page: Page) -> None:
    """It is not replaced by the usual places: who has set a socket trusts no other."""
    name = "extensions.mailbell.socket"
    thunderbird.run("Services.prefs.clearUserPref(args[0]);", name)
    thunderbird.run("Services.prefs.setBoolPref(args[0], false);", name)
    try:
        thunderbird.until_state("bad_path")
        page.until_says("The path of the socket cannot be used", "headline")
    finally:
        thunderbird.run("Services.prefs.clearUserPref(args[0]);", name)
    thunderbird.until_state("connected")


def test_the_page_hears_of_a_change_by_itself(desk: Desk, page: Page) -> None:
    """Not only when it looks once a minute."""
    page.run("for (let timer = 1; timer < 10000; timer += 1) clearInterval(timer);")
    before = int(page.text("rings"))
    desk.bell.ring("work")
    page.until_says(str(before + 1), "rings")


def test_a_clock_that_was_set_back_delays_nothing(desk: Desk, thunderbird: Thunderbird) -> None:
    thunderbird.run(_SET_CLOCK, ADDON, 0)
    thunderbird.run(_SET_CLOCK, ADDON, -3_600_000)
    try:
        assert desk.seconds_to_message(thunderbird, desk.imap, "after-the-clock") < SOON
        assert thunderbird.status()["lastRing"] < time() * 1000 - 3_000_000
    finally:
        thunderbird.run(_SET_CLOCK, ADDON, 0)


def test_an_add_on_that_is_disabled_during_a_fetch_leaves_nothing_and_works_again(
    desk: Desk, thunderbird: Thunderbird
) -> None:
    with socket.create_server((HOST, 0)) as silent:
        key = thunderbird.run(_ADD_ACCOUNT, HOST, silent.getsockname()[1])

        def state() -> list[str]:
            accounts = thunderbird.status()["accounts"]
            return [one["state"] for one in accounts if one["key"] == key]

        try:
            desk.bell.ring("other")
            until(lambda: state() == ["fetching"], "a fetch that hangs")
            until_quiet(thunderbird, *desk.both)
            thunderbird.run(_SWITCH, ADDON, False)
            until(lambda: desk.bell.subscribers() == 0, "the end of the subscription")
            noted = len(thunderbird.lines())
            desk.deliver("while-disabled", desk.imap)
            desk.bell.ring("other")
            assert thunderbird.answers() < SOON
            assert len(thunderbird.lines()) == noted
            assert not thunderbird.has(desk.imap, "while-disabled")
        finally:
            thunderbird.run(_REMOVE_ACCOUNT, key)
            thunderbird.run(_SWITCH, ADDON, True)
    thunderbird.until_state("connected")
    until_has(thunderbird, "while-disabled", desk.imap)


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
