"""Evolution with its module of mailbell, and without it, as an ordinary user has it."""

import json
import math
import re
import select
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from itertools import count, takewhile
from pathlib import Path

import pytest
from cli.support import words
from documents.blocks import block, steps
from harness.daemon import Daemon, configuration, started, until
from harness.machine import Machine, machine
from harness.mailserver import MailServer, message
from harness.ordinary import as_user
from harness.sender import PATIENCE
from mail_programs.evolution import (
    NAME,
    PACKAGES,
    USER,
    Account,
    HeldServer,
    Session,
    build,
    build_online,
    configure,
    held_servers,
    sessions,
)  # fmt: skip
from mail_programs.results import record
from mail_programs.support import PRESETS, Agent, agents

from scripts.client_table import versions

PRESET = PRESETS["evolution"]
PROGRAMS = ("/usr/bin/evolution", "/usr/include/evolution/mail/mail-send-recv.h")
# An address that is rung is an account of mailbell's.
RUNG = {"work": "127.0.0.2", "club": "127.0.0.3", "unknown": "127.0.0.4"}
CALLS = 500
# A connection that sends calls, half of them by name, and reads no answer before the last one's.
FLOOD = f"""
import sys
from jeepney import DBusAddress, new_method_call
from jeepney.io.blocking import open_dbus_connection

to = DBusAddress("/org/gnome/Evolution", "{NAME}", "org.gtk.Actions")
actions = [("mailbell-fetch", []), ("mailbell-fetch-account", [("s", "club")])]
with open_dbus_connection("SESSION") as bus:
    for number in range(int(sys.argv[1])):
        bus.send(new_method_call(to, "Activate", "sava{{sv}}", (*actions[number % 2], {{}})))
    bus.send_and_get_reply(new_method_call(to, "List"), timeout={PATIENCE})
"""
MBOX_LINE = "From berta@example.org Mon Mar  2 10:00:00 2026"
DELIVER = """
import fcntl, os, select, sys

text = sys.stdin.read()
for path in sys.argv[1:]:
    while True:
        try:
            os.close(os.open(f"{path}.lock", os.O_CREAT | os.O_EXCL))
            break
        except FileExistsError:
            select.select([], [], [], 0.02)
    with open(path, "a") as file:
        fcntl.lockf(file, fcntl.LOCK_EX)
        file.write(text)
    os.unlink(f"{path}.lock")
"""
STRICT = "CFLAGS=-O2 -Werror"
ANALYZED = "CFLAGS=-O2 -Werror -fanalyzer"


@pytest.fixture(scope="module", params=["-", "trixie"], ids=["this Debian", "Debian 13"])
def desk(request: pytest.FixtureRequest) -> Iterator[Machine]:
    """A machine with Evolution and what builds its module."""
    with machine("Evolution", PACKAGES, programs=PROGRAMS, host=None, suite=request.param,
                 stage="programs") as desk:  # fmt: skip
        if request.param != "-":
            configure(desk)
        yield desk


@pytest.fixture(scope="module")
def version(desk: Machine) -> str:
    """Which Evolution it is, as a preset says it."""
    system = re.findall(
        r'^VERSION_ID="?(\d+)', desk.path("/etc/os-release").read_text(), re.MULTILINE
    )
    number = desk.run("pkg-config", "--modversion", "evolution-shell-3.0").strip()
    return f"Debian {system[0]}, evolution {number}"


@pytest.fixture(scope="module")
def held(server: MailServer) -> Iterator[HeldServer]:
    with held_servers(server.pop3) as held:
        yield held


@pytest.fixture(scope="module")
def accounts(desk: Machine, server: MailServer, held: HeldServer) -> dict[str, Account]:
    """One account by IMAP, one by POP3, one by POP3 from a server that can be closed.

    The mail server has other mailboxes for each machine.
    """
    user = f"evolution-{desk.shared.name}"
    found = (
        Account("Work", "imapx", f"{user}-imap", server.imap),
        Account("Club", "pop", f"{user}-pop3", server.pop3),
        Account("Slow", "pop", f"{user}-slow", held.port),
    )
    return {account.name.lower(): account for account in found}


@pytest.fixture(scope="module")
def session(desk: Machine, server: MailServer, accounts: dict[str, Account]) -> Iterator[Session]:
    """A session in which Evolution is open, has the module, and has fetched once."""
    build(desk, "install", STRICT)
    for account in accounts.values():
        server.deliver(f"first-{account.name}", account.user)
    with sessions(desk, server, "anna", [*accounts.values()]) as session, session.evolution():
        for account in accounts.values():
            session.until_has(f"first-{account.name}")
        yield session


@pytest.fixture(scope="module")
def bell(desk: Machine) -> Iterator[Daemon]:
    """A mailbelld that knows the accounts by the address that is rung."""
    folder = desk.shared / "mailbelld"
    folder.mkdir(mode=0o755)
    named = "".join(
        f'[[account]]\nname = "{name}"\naddresses = ["{address}"]\n'
        for name, address in RUNG.items()
    )
    more = f'mode = "0666"\n[limits]\nrate = "1000/s"\nburst = 1000\n{named}'
    toml = configuration(folder, tcp=[f"{address}:0" for address in RUNG.values()], more=more)
    with started(folder, toml) as daemon:
        yield daemon


@pytest.fixture(scope="module")
def ring(bell: Daemon) -> Callable[[str], float]:
    """Rings for an account as a mail server does; returns when, in seconds."""
    ends = {name: "{}:{}".format(*bell.endpoint(host=host)) for name, host in RUNG.items()}

    def ring(name: str) -> float:
        begun = time.monotonic()
        subprocess.run(words("mailbell", "send", ends[name]), check=True, timeout=PATIENCE)
        return begun

    return ring


@pytest.fixture
def person(desk: Machine, empty_path: Path) -> list[str]:
    """What to run a program of this host through, so that it is the person's."""
    desk.user(USER)
    return [*desk.beside, *as_user(empty_path, *desk.ids(USER))]


@pytest.fixture
def run_agent(bell: Daemon, person: list[str]) -> Iterator[Callable[..., Agent]]:
    """Starts the person's `mailbell run` with the preset."""
    with ExitStack() as stack:
        yield lambda session, *line: stack.enter_context(
            agents(session.home, bell.path, ["--client", "evolution", *line], through=person)
        )


def action(session: Session, *words: str) -> int:
    """Call an action as the preset does; return the exit code."""
    return session.code(*PRESET.command, *(words or PRESET.args))


def by_name(name: str) -> tuple[str, str]:
    """The words that the preset's text names, for an account."""
    words = ("mailbell-fetch-account", "'{account}'")
    assert f"args = [{', '.join(json.dumps(word) for word in words)}]" in PRESET.setup
    return words[0], words[1].replace("{account}", name)


def test_it_builds_without_a_warning(desk: Machine, version: str) -> None:
    assert version in versions(PRESET) or version.startswith("Debian 13, evolution 3.56.")
    assert "module-mailbell.so" in build(desk, "clean", "all", ANALYZED)


def test_its_actions_are_on_the_bus(session: Session) -> None:
    """The command of docs/evolution.md shows them."""
    (shown,) = steps(block("docs/evolution.md", "Install", 1).text)
    listed = session.run(*shlex.split(shown.command))
    assert "'mailbell-fetch'" in listed
    assert "'mailbell-fetch-account'" in listed


@pytest.mark.parametrize(("way", "name"), [("IMAP", "work"), ("POP3", "club")])
def test_mail_is_there_two_seconds_after_the_server_has_rung(
    way: str, name: str, version: str, session: Session, accounts: dict[str, Account],
    run_agent: Callable[..., Agent], ring: Callable[[str], float],
) -> None:  # fmt: skip
    agent = run_agent(session, "--settle=1s")  # which is the default
    fastest = math.inf
    for attempt in range(3):  # another program of this machine may delay one
        session.server.deliver(f"{way}-{attempt}", accounts[name].user)
        begun = ring("unknown")  # whichever it is, all accounts are fetched
        session.until_has(f"{way}-{attempt}")
        fastest = min(fastest, time.monotonic() - begun)
        if fastest < 2:
            break
    record("evolution", version, way, fastest)
    assert fastest < 2
    agent.until_logged("event=ran", "code=0")


def test_an_account_that_is_rung_by_name_is_fetched_alone(
    session: Session, accounts: dict[str, Account], run_agent: Callable[..., Agent],
    ring: Callable[[str], float],
) -> None:  # fmt: skip
    named = [f"--account={name}" for name in RUNG]
    run_agent(session, *named, "--", *by_name("{account}"))
    for name in ("work", "club"):
        session.server.deliver(f"alone-{name}", accounts[name].user)
    before = session.logins(accounts["slow"])
    ring("club")  # in Evolution it is "Club"
    session.until_has("alone-club")
    assert not session.has("alone-work")
    ring("work")
    session.until_has("alone-work")
    assert session.logins(accounts["slow"]) == before
    # No account of Evolution has this name, so it may be any of them.
    for name in ("work", "club"):
        session.server.deliver(f"any-{name}", accounts[name].user)
    ring("unknown")
    for name in ("work", "club"):
        session.until_has(f"any-{name}")


def test_a_ring_during_a_fetch_is_not_lost_and_holds_up_no_other_account(
    session: Session, accounts: dict[str, Account], held: HeldServer
) -> None:
    slow, club = accounts["slow"], accounts["club"]
    held.open.clear()
    session.server.deliver("begun", slow.user)
    assert action(session, *by_name("slow")) == 0
    until(held.asked.is_set, "the fetch that goes on")
    # What comes now is not in the list that Evolution has got from the server.
    session.server.deliver("meanwhile", slow.user)
    assert action(session, *by_name("slow")) == 0
    for number in range(3):
        session.server.deliver(f"beside-{number}", club.user)
        assert action(session, *by_name("club")) == 0
        session.until_has(f"beside-{number}")
    assert not session.has("begun")
    held.open.set()
    session.until_has("begun")
    session.until_has("meanwhile")


def test_a_flood_makes_few_fetches(
    session: Session, accounts: dict[str, Account], person: list[str]
) -> None:
    club = accounts["club"]
    before, begun = session.logins(club), time.monotonic()
    flood = [*person, sys.executable, "-c", FLOOD, str(CALLS)]
    subprocess.run(flood, env=session.home.environ, check=True, timeout=PATIENCE, cwd="/")
    session.server.deliver("after-the-flood", club.user)
    assert action(session) == 0
    session.until_has("after-the-flood")
    # Two a second at most, and one more at each end.
    assert session.logins(club) - before <= 2 * (time.monotonic() - begun) + 2


# GVariant Text Format: a long name, control characters, none at all, and not ASCII.
HOSTILE = ["a" * 100_000, r"\u0001\n\u001b[2J%s%n\u202e", "", r"\U0001f514"]
WRONG = ["[]", "[<7>]", "[<['a']>]", "[<'a'>, <'b'>]", "[<@ms nothing>]"]


def test_a_bad_name_does_no_harm(session: Session, accounts: dict[str, Account]) -> None:
    for name in HOSTILE:
        assert action(session, *by_name(name)) == 0
    for argument in WRONG:
        session.call("Activate", "mailbell-fetch-account", argument, "{}", check=False)
    assert action(session, "mailbell-fetch", "'a'") == 1
    assert action(session, "mailbell-fetch-account") == 1
    session.server.deliver("after-bad-names", accounts["work"].user)
    assert action(session, *by_name("work")) == 0
    session.until_has("after-bad-names")


def test_one_that_is_not_open_stays_so(
    desk: Machine, server: MailServer, run_agent: Callable[..., Agent],
    ring: Callable[[str], float],
) -> None:  # fmt: skip
    with sessions(desk, server, "closed", []) as session:
        assert action(session) == 1
        assert action(session, *by_name("work")) == 1
        agent = run_agent(session)
        ring("work")
        agent.until_logged("event=ran", "code=1")
        assert not session.on_bus()
        assert NAME not in session.run(
            "gdbus", "call", "--session", "--dest", "org.freedesktop.DBus", "--object-path",
            "/org/freedesktop/DBus", "--method", "org.freedesktop.DBus.ListActivatableNames",
        )  # fmt: skip


def test_without_the_module_it_fails_and_a_spool_file_is_noticed(
    desk: Machine, version: str, server: MailServer, run_agent: Callable[..., Agent],
    ring: Callable[[str], float], person: list[str],
) -> None:  # fmt: skip
    build(desk, "uninstall")
    assert not list(desk.path("/usr/lib/evolution/modules").glob("*mailbell*"))
    files = [desk.shared / "plain" / name for name in ("listens", "deaf")]
    listens, deaf = accounts = (
        Account("Listens", "spool", path=str(files[0])),
        Account("Deaf", "spool", path=str(files[1]), listens="false"),
    )
    with sessions(desk, server, "plain", accounts) as session:
        put_into(session, person, files, "message-0")
        with session.evolution():
            agent = run_agent(session)
            ring("work")
            agent.until_logged("event=ran", "code=1")
            agent.until_logged("Unknown action")
            # After its start Evolution looks at all files for some seconds, on a busy machine for
            # many. Then only the account that listens goes on: the other one misses what is two
            # messages old.
            end = time.monotonic() + 3 * PATIENCE
            for number in takewhile(lambda _: time.monotonic() < end, count(1)):
                put_into(session, person, files, f"message-{number}.")
                seconds = noticed(session, listens, f"message-{number}.")
                if seconds and number > 2 and not session.has(f"message-{number - 2}.", deaf):
                    break
            else:
                pytest.fail("no account, or also the one that does not listen, notices messages")
            record("evolution", version, "mbox spool without the module", seconds)


def noticed(session: Session, account: Account, subject: str) -> float | None:
    """Wait for a message; return how many seconds that took.

    Now and then Evolution misses a change until the next one comes: then None.
    """
    begun = time.monotonic()
    while not session.has(subject, account):
        if time.monotonic() > begun + 8:
            return None
        select.select([], [], [], 0.02)
    return time.monotonic() - begun


def put_into(session: Session, person: list[str], files: list[Path], subject: str) -> None:
    """Add a message to mbox files as a fetcher of the person does, with both of the usual locks."""
    text = f"{MBOX_LINE}\n{message(subject)}\n"
    command = [*person, sys.executable, "-c", DELIVER, *map(str, files)]
    environ = session.home.environ
    subprocess.run(
        command, input=text, text=True, env=environ, check=True, timeout=PATIENCE, cwd="/"
    )


def test_one_that_is_offline_fetches_once_when_it_is_online_again(
    desk: Machine, server: MailServer, accounts: dict[str, Account]
) -> None:
    # An account with an interval would be fetched by Evolution too, when it goes online.
    club = replace(accounts["club"], refreshes="false")
    with sessions(desk, server, "offline", [club]) as session:
        # The module of this person alone, which needs no root.
        place = f"MODULES={session.home.path}/.local/lib/evolution/modules"
        build(desk, "install", place, STRICT)
        build_online(desk, place)
        session.home.environ["EDS_EXTRA_PREFIXES"] = f"{session.home.path}/.local"
        with session.evolution("--offline"):
            before = session.logins(club)
            server.deliver("message-while-offline", club.user)
            for words in (PRESET.args, by_name("club"), by_name("unknown")):
                assert action(session, *words) == 0
            assert action(session, "test-online") == 0
            session.until_has("message-while-offline")
        # Evolution has survived, and has ended: a login that came while it was offline counts too.
        assert session.logins(club) == before + 1
