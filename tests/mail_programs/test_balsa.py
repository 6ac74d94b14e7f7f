"""Balsa, whose window fetches when its action is called on the session's bus."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import DEVNULL, PIPE

import pytest
from agent.bus import Bus, started
from harness.daemon import until
from harness.machine import Machine, machine
from harness.mailserver import HOST
from mail_programs.results import record
from mail_programs.support import PRESETS, Agent, Home, Mailbox, preset_words, subjects

USER = "anna"
ACTIONS = ("busctl", "--user", "call", "org.desktop.Balsa", "/org/desktop/Balsa/window/1",
           "org.gtk.Actions", "List")  # fmt: skip
BOXES = ("Inbox", "Sentbox", "Trash", "Draftbox", "Outbox")
# What it writes itself after its assistant. It keeps passwords in ROT13.
SETTINGS = """
[Globals]
MailDir=/home/anna/mail
Version=2.6.4
[mailbox-1]
Type=LibBalsaMailboxPOP3
Name=work
Server={host}:{port}
Security=4
RememberPasswd=true
Check=true
Delete=false
[identity]
CurrentIdentity=default
[identity-default]
FullName=Anna
Address=anna@example.org
[MailboxChecking]
OnStartup=false
Auto=false
[Interface]
ShowRecvProgressDlg=false
"""
LOGIN = "[mailbox-1]\nUsername={user}\nPassword=xrcg-va-n-grfg\n"
BOX = "[mailbox-{name}]\nType=LibBalsaMailboxMaildir\nName={name}\nPath=/home/anna/mail/{name}\n"


@pytest.fixture(scope="module")
def desk() -> Iterator[Machine]:
    with machine(
        "Balsa", ["balsa", "xvfb"], programs=["/usr/bin/balsa"], host=None, stage="programs"
    ) as desk:  # fmt: skip
        desk.user(USER)
        yield desk


@pytest.fixture(scope="module")
def bus(desk: Machine) -> Iterator[Bus]:
    """The bus of the person's session. The agent is another user's."""
    folder = desk.shared / "bus"
    folder.mkdir(mode=0o755)
    everybody = '<policy context="default"><allow user="*"/></policy>'
    with started(folder, everybody, command=desk.beside) as bus:
        yield bus


@pytest.fixture
def home(home: Home, bus: Bus) -> Home:
    """The home of the agent, which knows that bus."""
    home.environ["DBUS_SESSION_BUS_ADDRESS"] = bus.address
    return home


@pytest.fixture
def inbox(desk: Machine, home: Home, mailbox: Mailbox) -> Iterator[Path]:
    """The inbox of the Balsa that is open, on a screen of its own."""
    own = f"/home/{USER}"
    settings = SETTINGS.format(host=HOST, port=mailbox.server.pop3)
    files = {
        "config": settings + "".join(BOX.format(name=name) for name in BOXES),
        "config-private": LOGIN.format(user=mailbox.user),
    }
    for name, text in files.items():
        desk.write(f"{own}/.balsa/{name}", text, mode=0o600, owner=USER)
    for box in BOXES:
        desk.run("mkdir", "-p", *(f"{own}/mail/{box}/{part}" for part in ("cur", "new", "tmp")))
    desk.run("chown", "-R", f"{USER}:", own)
    screen = ["Xvfb", "-displayfd", "1", "-nolisten", "tcp"]
    with desk.popen(*screen, user=USER, stdout=PIPE, stderr=DEVNULL) as xvfb:
        assert xvfb.stdout
        display = xvfb.stdout.readline().decode().strip()
        bus = home.environ["DBUS_SESSION_BUS_ADDRESS"]
        variables = (f"HOME={own}", f"DISPLAY=:{display}", f"DBUS_SESSION_BUS_ADDRESS={bus}")
        with desk.popen("env", *variables, "balsa", user=USER, stderr=DEVNULL) as balsa:
            until(lambda: "get-new-mail" in home.run(*ACTIONS).stdout, "Balsa's window")
            yield desk.path(f"{own}/mail/Inbox")
            balsa.terminate()
        xvfb.terminate()


def test_with_none_open_the_call_fails(home: Home) -> None:
    """It stands before the other one, whose Balsa ends with the machine."""
    assert home.run(*preset_words("balsa")).returncode == 1


def test_its_action_makes_it_fetch(
    home: Home, inbox: Path, mailbox: Mailbox, run_agent: Callable[..., Agent],
    ring: Callable[[], None],
) -> None:  # fmt: skip
    agent = run_agent("balsa")
    mailbox.deliver("once")
    assert subjects(inbox) == []
    ring()
    begun = time.monotonic()
    until(lambda: subjects(inbox) == ["once"], "the message in its inbox")
    record("balsa", PRESETS["balsa"].verified, "POP3", time.monotonic() - begun)
    agent.until_logged("event=ran", "code=0")


def test_it_is_the_version_that_the_preset_names(desk: Machine) -> None:
    version = PRESETS["balsa"].verified.rpartition(" ")[2]
    assert desk.run("balsa", "--version").split()[-1] == version
