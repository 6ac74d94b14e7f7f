"""Presets that use the bus of a session, with a program that receives their calls."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from agent.bus import Bus, started
from harness.sender import PATIENCE
from jeepney import HeaderFields, MessageType, message_bus, new_method_return
from jeepney.io.blocking import DBusConnection, open_dbus_connection
from mail_programs.support import Agent, Home, preset_words

NOTIFICATIONS = "org.freedesktop.Notifications"
AKONADI = "org.freedesktop.Akonadi.Control"
ANSWERS: Mapping[str, tuple[str, tuple[Any, ...]]] = {
    "GetServerInformation": ("ssss", ("test", "test", "1", "1.2")),
    "GetCapabilities": ("as", (["body"],)),
    "Notify": ("u", (1,)),
    "agentInstanceSynchronize": ("", ()),
}


@pytest.fixture
def bus(home: Home, tmp_path: Path) -> Iterator[Bus]:
    """A session's bus that can start Akonadi: a stand-in that makes the file `started`."""
    program = home.write("akonadi", f'#!/bin/sh\ntouch "{home.path}/started"\nexit 1\n', 0o700)
    home.write(f"services/{AKONADI}.service", f"[D-BUS Service]\nName={AKONADI}\nExec={program}\n")
    with started(tmp_path, f"<servicedir>{home.path}/services</servicedir>") as bus:
        home.environ["DBUS_SESSION_BUS_ADDRESS"] = bus.address
        yield bus


@contextmanager
def owner(bus: Bus, name: str) -> Iterator[DBusConnection]:
    """Own a name on the bus."""
    with open_dbus_connection(bus.address) as connection:
        connection.send_and_get_reply(message_bus.RequestName(name), timeout=PATIENCE)
        yield connection


def heard(connection: DBusConnection, method: str) -> tuple[Any, ...]:
    """Answer all calls up to the first one of a method; return its interface and its arguments."""
    while True:
        message = connection.receive(timeout=PATIENCE)
        if message.header.message_type is MessageType.method_call:
            fields = message.header.fields
            member = fields[HeaderFields.member]
            connection.send(new_method_return(message, *ANSWERS[member]))
            if member == method:
                return fields[HeaderFields.interface], *message.body


def test_a_notification_is_shown_with_the_name_of_the_account(
    home: Home, bus: Bus, run_agent: Callable[..., Agent], ring: Callable[[], None]
) -> None:
    preset_words("desktop")
    with owner(bus, NOTIFICATIONS) as screen:
        agent = run_agent("--client", "desktop", "--account", "default")
        ring()
        interface, app, _, icon, title, text, *_ = heard(screen, "Notify")
        agent.until_logged("event=ran", "code=0")
    assert interface == NOTIFICATIONS
    assert (app, icon, title, text) == ("mailbell", "mail-unread", "New mail", "default")


def test_without_anybody_to_show_it_a_notification_fails(home: Home, bus: Bus) -> None:
    assert home.run(*preset_words("desktop")).returncode == 1


def test_akonadi_hears_which_resource_to_synchronize(
    home: Home, bus: Bus, run_agent: Callable[..., Agent], ring: Callable[[], None]
) -> None:
    preset_words("kmail")
    with owner(bus, AKONADI) as akonadi:
        agent = run_agent("kmail", "akonadi_imap_resource_7")
        ring()
        assert heard(akonadi, "agentInstanceSynchronize") == (
            "org.freedesktop.Akonadi.AgentManager",
            "akonadi_imap_resource_7",
        )
        agent.until_logged("event=ran", "code=0")


def test_akonadi_is_not_started(home: Home, bus: Bus) -> None:
    command = preset_words("kmail")
    mark = home.path / "started"
    assert home.run(*command).returncode == 1
    assert not mark.exists()
    # Without the option, the same call would start it.
    home.run(*(word for word in command if not word.startswith("--auto-start")))
    assert mark.exists()
