"""Presets that use the bus of a session, with a program that receives their calls."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from agent.bus import Bus, started
from harness.sender import PATIENCE
from jeepney import HeaderFields, MessageType, message_bus, new_method_return
from jeepney.io.blocking import DBusConnection, open_dbus_connection
from mail_programs.results import recorded
from mail_programs.support import Agent, Home, preset_words

pytestmark = pytest.mark.long

NOTIFICATIONS = "org.freedesktop.Notifications"
ANSWERS: Mapping[str, tuple[str, tuple[Any, ...]]] = {
    "GetServerInformation": ("ssss", ("test", "test", "1", "1.2")),
    "GetCapabilities": ("as", (["body"],)),
    "Notify": ("u", (1,)),
    "agentInstanceSynchronize": ("", ()),
    "checkMail": ("", ()),
}


class Called(NamedTuple):
    """A program that a preset calls.

    Attributes:
        line: the preset and its words.
        name: the program's name on the bus.
        path: the object that is called.
        method: what is called.
        arrives: the interface and the arguments.
    """

    line: tuple[str, ...]
    name: str
    path: str
    method: str
    arrives: tuple[str, ...]


CALLED = [
    Called(
        ("akonadi", "akonadi_imap_resource_7"), "org.freedesktop.Akonadi.Control", "/AgentManager",
        "agentInstanceSynchronize",
        ("org.freedesktop.Akonadi.AgentManager", "akonadi_imap_resource_7"),
    ),
    Called(("kmail",), "org.kde.kmail", "/KMail", "checkMail", ("org.kde.kmail.kmail",)),
]  # fmt: skip


@pytest.fixture
def bus(home: Home, tmp_path: Path) -> Iterator[Bus]:
    """A session's bus that can start the programs: stand-ins that make the file `started`."""
    program = home.write("stand-in", f'#!/bin/sh\ntouch "{home.path}/started"\nexit 1\n', 0o700)
    for name in (called.name for called in CALLED):
        service = f"[D-BUS Service]\nName={name}\nExec={program}\n"
        home.write(f"services/{name}.service", service)
    with started(tmp_path, f"<servicedir>{home.path}/services</servicedir>") as bus:
        home.environ["DBUS_SESSION_BUS_ADDRESS"] = bus.address
        yield bus


@contextmanager
def owner(bus: Bus, name: str) -> Iterator[DBusConnection]:
    """Own a name on the bus."""
    with open_dbus_connection(bus.address) as connection:
        connection.send_and_get_reply(message_bus.RequestName(name), timeout=PATIENCE)
        yield connection


def heard(connection: DBusConnection, method: str) -> tuple[str, tuple[Any, ...]]:
    """Answer all calls up to the first one of a method.

    Returns:
        The path that was called; the interface and the arguments.
    """
    while True:
        message = connection.receive(timeout=PATIENCE)
        if message.header.message_type is MessageType.method_call:
            fields = message.header.fields
            member = fields[HeaderFields.member]
            connection.send(new_method_return(message, *ANSWERS[member]))
            if member == method:
                return fields[HeaderFields.path], (fields[HeaderFields.interface], *message.body)


def test_a_notification_is_shown_with_the_name_of_the_account(
    home: Home, bus: Bus, run_agent: Callable[..., Agent], ring: Callable[[], None]
) -> None:
    preset_words("desktop")
    with owner(bus, NOTIFICATIONS) as screen:
        agent = run_agent("--client", "desktop", "--account", "default")
        with recorded("desktop", "message on the screen"):
            ring()
            _, (interface, app, _, icon, title, text, *_) = heard(screen, "Notify")
        agent.until_logged("event=ran", "code=0")
    assert interface == NOTIFICATIONS
    assert (app, icon, title, text) == ("mailbell", "mail-unread", "New mail", "default")


def test_without_anybody_to_show_it_a_notification_fails(home: Home, bus: Bus) -> None:
    assert home.run(*preset_words("desktop")).returncode == 1


@pytest.mark.parametrize("called", CALLED, ids=lambda called: called.line[0])
def test_a_desktop_program_hears_the_call(
    called: Called, home: Home, bus: Bus, run_agent: Callable[..., Agent],
    ring: Callable[[], None],
) -> None:  # fmt: skip
    preset_words(called.line[0])
    with owner(bus, called.name) as program:
        agent = run_agent(*called.line)
        ring()
        assert heard(program, called.method) == (called.path, called.arrives)
        agent.until_logged("event=ran", "code=0")


@pytest.mark.parametrize("called", CALLED, ids=lambda called: called.line[0])
def test_a_desktop_program_that_is_not_open_stays_so(called: Called, home: Home, bus: Bus) -> None:
    command = preset_words(called.line[0])
    mark = home.path / "started"
    assert home.run(*command).returncode == 1
    assert not mark.exists()
    # Without the option, the same call would start it.
    home.run(*(word for word in command if not word.startswith("--auto-start")))
    assert mark.exists()


@pytest.mark.parametrize("called", CALLED, ids=lambda called: called.line[0])
def test_the_ring_is_tried_again_until_the_program_is_open(
    called: Called, home: Home, bus: Bus, run_agent: Callable[..., Agent],
    ring: Callable[[], None],
) -> None:  # fmt: skip
    client, *words = called.line
    preset_words(client)
    agent = run_agent("--backoff=100ms..100ms", "--client", client, "--", *words)
    ring()
    agent.until_logged("event=retry")
    with owner(bus, called.name) as program:
        assert heard(program, called.method) == (called.path, called.arrives)
        agent.until_logged("event=ran", "code=0")
    assert not (home.path / "started").exists()
