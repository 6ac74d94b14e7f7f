"""aerc of Debian 13 on a terminal: what `aerc :COMMAND` makes the open one do."""

import shlex
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from cli.terminal import Terminal
from harness.daemon import until
from harness.machine import Machine, machine
from harness.mailserver import HOST, PASSWORD, MailServer, mail_servers
from mail_programs.fetchers import mbsync
from mail_programs.results import record
from mail_programs.support import PRESETS, Agent, Home, Mailbox, homes

PACKAGES = ("aerc", "isync", "libpam-modules", "util-linux")
USER = "anna"
# The server tells nobody by itself.
WITHOUT_IDLE = "\nimap_capability = IMAP4rev1 LITERAL+ UIDPLUS NAMESPACE CHILDREN UNSELECT\n"
LOOK, FETCH = ((*PRESETS[name].command, *PRESETS[name].args) for name in ("aerc", "mbsync"))
VERSION = PRESETS["aerc"].verified


@pytest.fixture(scope="module")
def desk() -> Iterator[Machine]:
    """A machine with aerc, and somebody who uses it."""
    with machine(
        "aerc", PACKAGES, programs=(), host=None, suite="trixie", stage="programs"
    ) as desk:
        desk.append("/etc/passwd", f"{USER}:x:1000:1000::/home/{USER}:/bin/sh\n")
        desk.append("/etc/group", f"{USER}:x:1000:\n")
        yield desk


@pytest.fixture(scope="module")
def server() -> Iterator[MailServer]:
    with mail_servers(WITHOUT_IDLE) as server:
        yield server


@pytest.fixture
def home(desk: Machine) -> Iterator[Home]:
    """The person's home, whose programs run on the machine and are in PATH outside of it."""
    path = desk.shared / USER
    (path / "run").mkdir(parents=True)
    inside = {"HOME": str(path), "USER": USER, "LC_ALL": "C.UTF-8", "PATH": "/usr/bin:/bin",
              "XDG_RUNTIME_DIR": f"{path}/run", "TERM": "xterm"}  # fmt: skip
    variables = [f"{name}={value}" for name, value in inside.items()]
    entering = shlex.join([*desk.enter, "runuser", "-u", USER, "--", "env", "-i", *variables])
    with homes() as outside:
        # The agent is another user's, and has a home of its own.
        programs = f"{path}/bin:{outside.environ['PATH']}"
        home = Home(path, outside.environ | {"PATH": programs})
        for program in ("aerc", "mbsync"):
            home.write(f"bin/{program}", f'#!/bin/sh\nexec {entering} {program} "$@"\n', 0o755)
        yield home
    shutil.rmtree(path)


def given(desk: Machine, home: Home) -> None:
    """Make the person the owner of all that was written into the home."""
    desk.run("chown", "-R", f"{USER}:{USER}", str(home.path))


@contextmanager
def opened(home: Home, desk: Machine, account: str) -> Iterator[Terminal]:
    """Open aerc with an account until the end of the block, which begins when it shows `first`."""
    home.write(".config/aerc/accounts.conf",
               f"[work]\n{account}\ndefault = INBOX\nfrom = Anna <anna@example.org>\n")  # fmt: skip
    given(desk, home)
    with Terminal(["aerc"], home.environ) as terminal:
        terminal.until_written("first")
        yield terminal


def maildir(home: Home, mailbox: Mailbox, desk: Machine) -> Path:
    """Configure mbsync, and let it fetch the first message."""
    folder = mbsync(home, mailbox)
    given(desk, home)
    mailbox.deliver("first")
    assert home.run(*FETCH).returncode == 0
    return folder.parent


def shown_after_a_ring(terminal: Terminal, mailbox: Mailbox, ring: Callable[[], None]) -> float:
    """Deliver a message, ring, and wait until aerc shows it; return how long that took."""
    mailbox.deliver("second")
    ring()
    begun = time.monotonic()
    terminal.until_written("second")
    return time.monotonic() - begun


def test_it_runs_the_fetcher_and_shows_what_came(
    desk: Machine, home: Home, mailbox: Mailbox, run_agent: Callable[..., Agent],
    ring: Callable[[], None],
) -> None:  # fmt: skip
    folder = maildir(home, mailbox, desk)
    with opened(home, desk, f"source = maildir://{folder}\ncheck-mail-cmd = mbsync -q -a") as aerc:
        agent = run_agent("aerc")
        record("aerc", VERSION, "Maildir of mbsync", shown_after_a_ring(aerc, mailbox, ring))
        agent.until_logged("event=ran", "code=0")


def test_it_shows_by_itself_what_a_fetcher_delivers(
    desk: Machine, home: Home, mailbox: Mailbox, run_agent: Callable[..., Agent],
    ring: Callable[[], None],
) -> None:  # fmt: skip
    folder = maildir(home, mailbox, desk)
    with opened(home, desk, f"source = maildir://{folder}") as aerc:
        run_agent("mbsync")
        shown_after_a_ring(aerc, mailbox, ring)


def test_clear_makes_it_ask_an_imap_server_that_does_not_tell(
    desk: Machine, home: Home, mailbox: Mailbox, run_agent: Callable[..., Agent],
    ring: Callable[[], None],
) -> None:  # fmt: skip
    mailbox.deliver("first")
    imap = f"imap+insecure://{mailbox.user}:{PASSWORD}@{HOST}:{mailbox.server.imap}"
    log = home.path / "log"
    home.write(".config/aerc/aerc.conf", f"[general]\nlog-file = {log}\nlog-level = trace\n")
    with opened(home, desk, f"source = {imap}") as aerc:
        until(lambda: checks(log), "the end of its start")
        before = checks(log)
        mailbox.deliver("unseen")
        assert home.run(*LOOK).returncode == 0
        until(lambda: checks(log) > before, "its end")
        aerc.until(lambda _: "unseen" not in aerc.drawn, "what it has drawn")
        agent = run_agent("aerc", ":clear")
        record("aerc", VERSION, "IMAP", shown_after_a_ring(aerc, mailbox, ring))
        assert "unseen" in aerc.drawn
        agent.until_logged("event=ran", "code=0")


def checks(log: Path) -> int:
    """How often aerc has looked for mail; 0 while it does not wait for what is next."""
    text = log.read_text()
    waits = "idler (start): started" in text.rpartition("ready to handle")[2]
    return text.count("ready to handle *types.CheckMail") if waits else 0


def test_with_none_open_the_command_fails_and_opens_none(desk: Machine, home: Home) -> None:
    given(desk, home)
    assert home.run(*LOOK).returncode == 2
    assert not any((home.path / "run").iterdir())


def test_it_is_the_version_that_the_preset_names(home: Home) -> None:
    assert home.run("aerc", "--version").stdout.startswith(VERSION.partition(", ")[2] + " ")
