"""Thunderbird and the add-on: mail is there soon after the ring, and nothing is fetched twice."""

import socket
from collections.abc import Iterator
from functools import partial
from itertools import count

import pytest
from agent.bus import LOGIND, Bus, Peer
from agent.bus import started as buses
from harness.daemon import until
from harness.mailserver import HOST
from mail_programs.desk import DEBIAN_12, SOON, Desk, desks, until_has, until_quiet
from mail_programs.profile import Account
from mail_programs.thunderbird import Thunderbird

_NUMBERS = count(1)

BEFORE = "before-the-start"  # the subject of a message

# Its windows, and the only one that it has unless it asks something.
_WINDOWS = "return [...Services.wm.getEnumerator(null)].map(one => one.document.documentURI);"
_MAIN = "chrome://messenger/content/messenger.xhtml"

# Everything is fetched when it is online again.
_ONLINE = "Services.io.offline = true; Services.io.offline = false;"

# How an account shows who it is. Returns whether Thunderbird says that a password is missing.
_METHOD = """
const { MailServices } = ChromeUtils.importESModule("resource:///modules/MailServices.sys.mjs");
const server = MailServices.accounts.getIncomingServer(args[0]);
server.authMethod = Ci.nsMsgAuthMethod[args[1]];
return server.passwordPromptRequired;
"""

# Thunderbird is not run by the user who runs the bus.
_EVERYBODY = '<policy context="default"><allow user="*"/></policy>'


@pytest.fixture(scope="module")
def desk() -> Iterator[Desk]:
    with desks(DEBIAN_12) as desk:
        desk.bell.start()
        yield desk


@pytest.fixture(scope="module")
def bus(desk: Desk) -> Iterator[Bus]:
    folder = desk.machine.shared / "bus"
    folder.mkdir()
    folder.chmod(0o755)
    with buses(folder, _EVERYBODY, command=desk.machine.beside) as bus:
        yield bus


@pytest.fixture(scope="module")
def logind(bus: Bus) -> Iterator[Peer]:
    with Peer(bus, LOGIND) as peer:
        yield peer


@pytest.fixture(scope="module")
def troubled(desk: Desk) -> Iterator[dict[str, Account]]:
    """Accounts that no fetch brings mail for, by the state that they are to be in."""
    with socket.create_server((HOST, 0)) as silent, socket.socket() as closed:
        closed.bind((HOST, 0))  # and it does not listen
        port = silent.getsockname()[1]
        yield {
            "fetching": Account("server3", "stuck", "imap", "sigrid", port),
            "failed": Account("server4", "broken", "imap", "bernd", closed.getsockname()[1]),
            "failed too": Account("server6", "refusing", "pop3", "bernd", closed.getsockname()[1]),
            "no_password": Account(
                "server5", "locked", "pop3", "ludwig", desk.pop3.port, has_password=False
            ),
        }


@pytest.fixture(scope="module")
def running(
    desk: Desk, bus: Bus, logind: Peer, troubled: dict[str, Account]
) -> Iterator[Thunderbird]:
    """All tests have the troubled accounts beside, which must not disturb the others."""
    desk.deliver(BEFORE, *desk.both)
    environ = {"DBUS_SYSTEM_BUS_ADDRESS": bus.address}
    with desk.thunderbird(*troubled.values(), environ=environ) as thunderbird:
        logind.tell_properties()
        yield thunderbird


@pytest.fixture
def thunderbird(desk: Desk, running: Thunderbird) -> Thunderbird:
    """Connected, and with nothing to do."""
    running.until_state("connected")
    until_quiet(running, *desk.both)
    return running


@pytest.fixture
def subject() -> str:
    return f"message-{next(_NUMBERS)}"


def looked(desk: Desk, before: dict[str, int]) -> dict[str, int]:
    """How often each account was looked at since then."""
    return {kind: times - before[kind] for kind, times in desk.asked().items()}


def test_what_came_before_thunderbird_started_is_there_soon(
    desk: Desk, thunderbird: Thunderbird
) -> None:
    """Although no folder of a new account is known yet. The text of a mail may come later."""
    for account in desk.both:
        until(partial(thunderbird.lists, account, BEFORE), f"{BEFORE} in {account.name}")


@pytest.mark.parametrize("kind", ["imap", "pop3"])
def test_a_message_is_there_soon_after_the_ring(
    desk: Desk, thunderbird: Thunderbird, subject: str, kind: str
) -> None:
    (account,) = (one for one in desk.both if one.kind == kind)
    seconds = desk.seconds_to_message(thunderbird, account, subject)
    desk.note(thunderbird, account, seconds)
    assert seconds < SOON


def test_the_account_that_rang_is_fetched_and_no_other(
    desk: Desk, thunderbird: Thunderbird, subject: str
) -> None:
    before = desk.asked()
    desk.deliver(subject, *desk.both)
    desk.bell.ring("club")
    until_has(thunderbird, subject, desk.pop3)
    until_quiet(thunderbird, *desk.both)
    assert looked(desk, before) == {"imap": 0, "pop3": 1}
    assert not thunderbird.has(desk.imap, subject)
    desk.bell.ring("work")
    until_has(thunderbird, subject, desk.imap)
    until_quiet(thunderbird, *desk.both)
    assert looked(desk, before) == {"imap": 1, "pop3": 1}


def test_an_account_that_nobody_has_fetches_all(
    desk: Desk, thunderbird: Thunderbird, subject: str
) -> None:
    desk.deliver(subject, *desk.both)
    desk.bell.ring("other")
    until_has(thunderbird, subject, *desk.both)


def test_the_user_says_which_accounts_ring_which(
    desk: Desk, thunderbird: Thunderbird, subject: str
) -> None:
    before = desk.asked()
    thunderbird.set(names={desk.imap.key: ["other"]})
    try:
        desk.deliver(subject, *desk.both)
        desk.bell.ring("other")
        until_has(thunderbird, subject, desk.imap)
        until_quiet(thunderbird, *desk.both)
        assert looked(desk, before) == {"imap": 1, "pop3": 0}
    finally:
        thunderbird.set(names={})


def test_what_came_while_mailbelld_restarted_is_fetched_once(
    desk: Desk, thunderbird: Thunderbird, subject: str
) -> None:
    before = desk.asked()
    desk.bell.stop()
    desk.deliver(subject, *desk.both)
    desk.bell.start()
    until_has(thunderbird, subject, *desk.both)
    until_quiet(thunderbird, *desk.both)
    assert looked(desk, before) == {"imap": 1, "pop3": 1}


def test_what_came_while_mailbelld_was_away_is_fetched_once(
    desk: Desk, thunderbird: Thunderbird, subject: str
) -> None:
    """The add-on has waited longer and longer between its attempts by then."""
    before, attempts = desk.asked(), thunderbird.counted("connection ended")
    desk.bell.stop()
    desk.deliver(f"{subject}-early", *desk.both)
    thunderbird.until_noted("connection ended", attempts + 3)
    assert thunderbird.status()["state"] in {"deaf", "missing"}
    desk.deliver(f"{subject}-late", *desk.both)
    desk.bell.start()
    for late in ("early", "late"):
        until_has(thunderbird, f"{subject}-{late}", *desk.both)
    until_quiet(thunderbird, *desk.both)
    assert looked(desk, before) == {"imap": 1, "pop3": 1}


def test_a_mailbelld_that_was_killed_is_missed_and_found_again(
    desk: Desk, thunderbird: Thunderbird, subject: str
) -> None:
    before = desk.asked()
    desk.bell.kill()
    thunderbird.until_state("deaf")
    assert desk.bell.path.is_socket()
    desk.deliver(subject, *desk.both)
    desk.bell.start()
    until_has(thunderbird, subject, *desk.both)
    until_quiet(thunderbird, *desk.both)
    assert looked(desk, before) == {"imap": 1, "pop3": 1}


def test_a_mailbelld_that_hangs_is_noticed(
    desk: Desk, thunderbird: Thunderbird, logind: Peer, subject: str
) -> None:
    """It is asked after sleep, and after each time of silence, which would be long for a test."""
    with desk.bell.hanging():
        logind.sleep()
        logind.wake()
        thunderbird.until_state("not_mailbelld")
        assert thunderbird.status()["reason"] == "no_answer"
        desk.deliver(subject, *desk.both)
    thunderbird.until_state("connected")
    until_has(thunderbird, subject, *desk.both)


def test_a_mailbelld_that_answers_stays_connected(thunderbird: Thunderbird, logind: Peer) -> None:
    since, checks = thunderbird.status()["since"], thunderbird.counted("check /")
    logind.sleep()
    logind.wake()
    thunderbird.until_noted("check /", checks + 1)
    until_quiet(thunderbird, *thunderbird.accounts[:2])
    assert thunderbird.status()["since"] == since


def test_a_ring_while_offline_is_not_forgotten(
    desk: Desk, thunderbird: Thunderbird, subject: str
) -> None:
    before = desk.asked()
    thunderbird.run("Services.io.offline = true;")
    rings = thunderbird.status()["rings"]
    try:
        desk.deliver(subject, *desk.both)
        desk.bell.ring("other")
        until(lambda: thunderbird.status()["rings"] > rings, "a notification")
        assert thunderbird.status()["offline"]
        assert looked(desk, before) == {"imap": 0, "pop3": 0}
    finally:
        thunderbird.run("Services.io.offline = false;")
    until_has(thunderbird, subject, *desk.both)
    until_quiet(thunderbird, *desk.both)
    assert looked(desk, before) == {"imap": 1, "pop3": 1}


def test_what_came_while_offline_is_fetched_once_without_a_ring(
    desk: Desk, thunderbird: Thunderbird, subject: str
) -> None:
    before = desk.asked()
    thunderbird.run("Services.io.offline = true;")
    desk.deliver(subject, *desk.both)
    thunderbird.run("Services.io.offline = false;")
    until_has(thunderbird, subject, *desk.both)
    until_quiet(thunderbird, *desk.both)
    assert looked(desk, before) == {"imap": 1, "pop3": 1}


def test_after_sleep_all_is_fetched_once(
    desk: Desk, thunderbird: Thunderbird, logind: Peer, subject: str
) -> None:
    before = desk.asked()
    logind.sleep()
    desk.deliver(subject, *desk.both)
    logind.wake()
    until_has(thunderbird, subject, *desk.both)
    until_quiet(thunderbird, *desk.both)
    assert looked(desk, before) == {"imap": 1, "pop3": 1}


def test_accounts_in_trouble_hold_up_no_other(
    desk: Desk, thunderbird: Thunderbird, troubled: dict[str, Account], subject: str
) -> None:
    """Their servers hang or do not run, or the password is missing. And no window asks for it."""

    def states() -> dict[str, str]:
        found = {one["key"]: one["state"] for one in thunderbird.status()["accounts"]}
        return {state: found[account.key] for state, account in troubled.items()}

    expected = {state: state.removesuffix(" too") for state in troubled}
    thunderbird.run(_ONLINE)
    until(lambda: states() == expected, f"{expected} in {states()}")
    for account in desk.both:
        until_quiet(thunderbird, *desk.both)
        seconds = desk.seconds_to_message(thunderbird, account, f"{subject}-{account.kind}")
        assert seconds < SOON
    assert states() == expected
    assert thunderbird.run(_WINDOWS) == [_MAIN]


def test_an_account_that_needs_no_password_is_fetched(
    thunderbird: Thunderbird, troubled: dict[str, Account]
) -> None:
    """Thunderbird says of an account with Kerberos, too, that its password is missing.

    This server has no Kerberos, so the fetch fails, and the state tells that it was tried.
    """
    locked = troubled["no_password"].key

    def state() -> str:
        return next(
            str(one["state"]) for one in thunderbird.status()["accounts"] if one["key"] == locked
        )

    until(lambda: state() == "no_password", "the missing password")
    assert thunderbird.run(_METHOD, locked, "GSSAPI") is True
    try:
        thunderbird.run(_ONLINE)
        until(lambda: state() == "failed", "a fetch that failed")
        assert thunderbird.run(_WINDOWS) == [_MAIN]
    finally:
        thunderbird.run(_METHOD, locked, "passwordCleartext")
        thunderbird.run(_ONLINE)
        until(lambda: state() == "no_password", "the missing password")
