"""Programs that fetch and end: the whole way of a message, and the claims of the presets."""

import fcntl
from collections.abc import Callable

import pytest
from harness.daemon import until
from harness.mailserver import HOST, PASSWORD
from mail_programs.fetchers import FETCHERS, fetchmail, mbsync, offlineimap
from mail_programs.gate import Gate
from mail_programs.results import recorded
from mail_programs.support import (
    PRESETS,
    Agent,
    Home,
    Mailbox,
    ended,
    needs,
    preset_words,
    subjects,
)

pytestmark = pytest.mark.long

LINES = {
    "mbsync": ["mbsync"],
    "mbsync, one channel": ["mbsync", "work"],
    "mbsync, as a command": ["--", "mbsync", "-q", "-a"],
    "getmail": ["getmail"],
    "fetchmail": ["fetchmail"],
    "fetchmail, one server": ["fetchmail", HOST],
    "offlineimap": ["offlineimap"],
    "offlineimap, one account": ["offlineimap", "-a", "work"],
    "mpop": ["mpop"],
    "mpop, one account": ["mpop", "work"],
}


WAYS = {"mbsync": "IMAP", "offlineimap": "IMAP", "getmail": "POP3", "fetchmail": "POP3",
        "mpop": "POP3"}  # fmt: skip


@pytest.mark.parametrize("line", LINES.values(), ids=list(LINES))
def test_mail_is_in_the_maildir_when_the_server_has_rung(
    line: list[str], home: Home, mailbox: Mailbox, run_agent: Callable[..., Agent],
    ring: Callable[[], None],
) -> None:  # fmt: skip
    (program,) = FETCHERS.keys() & set(line)
    needs(program)
    folder = FETCHERS[program](home, mailbox)
    agent = run_agent(*line)
    mailbox.deliver("first")
    assert subjects(home.path) == []
    ring()
    until(lambda: subjects(folder) == ["first"], "the first message")
    mailbox.deliver("second")
    with recorded(program, WAYS[program]):
        ring()
        until(lambda: sorted(subjects(folder)) == ["first", "second"], "the second message")
    agent.until_logged("event=ran", "code=0")


@pytest.mark.parametrize("program", FETCHERS)
def test_that_there_is_no_mail_is_no_failure(
    program: str, home: Home, mailbox: Mailbox, run_agent: Callable[..., Agent],
    ring: Callable[[], None],
) -> None:  # fmt: skip
    needs(program)
    FETCHERS[program](home, mailbox)
    agent = run_agent(program)
    ring()
    agent.until_logged("event=ran", "code=1" if program == "fetchmail" else "code=0")
    assert not any("event=retry" in line for line in agent.lines())


NO_PASSWORD = {
    "mbsync": ("", "no password"),
    "getmail": ("", "EOFError"),
    "fetchmail": ("", "can't find a password"),
    "offlineimap": ("", "password is not supported"),
    "mpop": ("", "authentication failed"),
}
WRONG_PASSWORD = {
    "mbsync": (f"Pass x{PASSWORD}", "AUTHENTICATIONFAILED"),
    "getmail": (f"password = x{PASSWORD}", "Authentication failed"),
    "fetchmail": (f"password x{PASSWORD}", "Authorization failure"),
    "offlineimap": (f"remotepass = x{PASSWORD}", "AUTHENTICATIONFAILED"),
    "mpop": (f"password x{PASSWORD}", "authentication failed"),
}


@pytest.mark.parametrize("program", FETCHERS)
@pytest.mark.parametrize("kind", [NO_PASSWORD, WRONG_PASSWORD], ids=["none", "wrong"])
def test_without_the_password_it_fails_and_says_so(
    kind: dict[str, tuple[str, str]], program: str, home: Home, mailbox: Mailbox
) -> None:
    command = preset_words(program)
    says, complaint = kind[program]
    FETCHERS[program](home, mailbox, says)
    done = home.run(*command)
    assert done.returncode not in PRESETS[program].ok_codes
    assert complaint in done.stdout


def test_a_second_mbsync_fails_on_the_lock_of_the_first(home: Home, mailbox: Mailbox) -> None:
    command = preset_words("mbsync")
    folder = mbsync(home, mailbox)
    assert home.run(*command).returncode == 0
    with (folder / ".mbsyncstate.lock").open("w") as lock:
        fcntl.lockf(lock, fcntl.LOCK_EX)
        done = home.run(*command)
    assert (done.returncode, "is locked" in done.stdout) == (1, True)


def test_a_second_offlineimap_fails_on_the_lock_of_the_first(home: Home, mailbox: Mailbox) -> None:
    command = preset_words("offlineimap")
    offlineimap(home, mailbox)
    assert home.run(*command).returncode == 0
    with (home.path / ".offlineimap" / "work.lock").open("w") as lock:
        fcntl.lockf(lock, fcntl.LOCK_EX)
        done = home.run(*command)
    assert (done.returncode, "Could not lock" in done.stdout) == (1, True)


@pytest.mark.parametrize("program", ["getmail", "mpop"])
def test_two_at_once_deliver_a_message_twice(program: str, home: Home, mailbox: Mailbox) -> None:
    command = preset_words(program)
    gate = Gate(home)
    folder = FETCHERS[program](home, mailbox, gate=gate)
    mailbox.deliver("once")
    with home.running(*command) as first:
        until(lambda: subjects(folder) == ["once"], "the first delivery")
        with home.running(*command) as second:
            until(lambda: subjects(folder) == ["once", "once"], "the second delivery")
            for _ in range(2):
                gate.let_go()
            assert (ended(first), ended(second)) == (0, 0)


def test_a_second_fetchmail_says_that_there_is_another(home: Home, mailbox: Mailbox) -> None:
    command = preset_words("fetchmail")
    gate = Gate(home)
    folder = fetchmail(home, mailbox, gate=gate)
    mailbox.deliver("once")
    with home.running(*command) as first:
        until(lambda: subjects(folder) == ["once"], "the delivery")
        done = home.run(*command)
        gate.let_go()
        assert ended(first) == 0
    assert (done.returncode, "another foreground fetchmail" in done.stdout) == (8, True)


def test_fetchmail_hides_a_server_that_fails_behind_one_that_does_not(
    home: Home, mailbox: Mailbox
) -> None:
    command = preset_words("fetchmail")
    folder = fetchmail(home, mailbox)
    file = home.path / "fetchmailrc"
    dead = "poll localhost protocol pop3 port 1 username x password x\n"
    file.write_text(file.read_text() + dead)
    mailbox.deliver("from the other")
    together = home.run(*command)
    assert (together.returncode, subjects(folder)) == (0, ["from the other"])
    assert home.run(*command, "localhost").returncode == 2
