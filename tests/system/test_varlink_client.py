"""Varlink clients of other projects at the local socket: `varlink`, `asyncvarlink`."""

import asyncio
import json
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, contextmanager
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import IO, Any, Final, TypedDict

import pytest
from asyncvarlink import (
    GenericVarlinkErrorReply,
    VarlinkClientProtocol,
    VarlinkInterface,
    connect_unix_varlink,
    varlinkmethod,
)
from harness.daemon import PATIENCE, Daemon, configuration, ring, started
from system.support import GENEROUS, Local

from mailbell import __version__
from mailbell.interfaces.listener import LISTENER_INTERFACE
from mailbell.varlink import SERVICE_INTERFACE

INTERFACE = "org.mailbell.Listener"


def command(daemon: Daemon, *arguments: str) -> list[str]:
    *words, last = arguments
    address = f"unix:{daemon.path}" + (f"/{last}" if last else "")
    return [sys.executable, "-W", "ignore", "-m", "varlink.cli", *words, address]


def output(daemon: Daemon, *arguments: str) -> str:
    done = subprocess.run(
        command(daemon, *arguments), check=True, capture_output=True, text=True, timeout=PATIENCE
    )
    return done.stdout


@contextmanager
def streaming(daemon: Daemon) -> Iterator["IO[str]"]:
    process = subprocess.Popen(
        [*command(daemon, "call", "--more", f"{INTERFACE}.Subscribe"), "{}"],
        stdout=subprocess.PIPE,
        text=True,
        env={"PYTHONUNBUFFERED": "1"},
    )
    assert process.stdout
    # If a client prints nothing more, each wait ends after this time, and the test fails.
    guard = threading.Timer(PATIENCE, process.kill)
    guard.start()
    try:
        yield process.stdout
    finally:
        process.kill()
        guard.cancel()
        guard.join()
        process.wait()
        process.stdout.close()


def next_object(stream: "IO[str]") -> Any:
    """Read one JSON object, which may have any number of lines."""
    text = ""
    while line := stream.readline():
        text += line
        try:
            return json.loads(text)
        except json.JSONDecodeError:
            continue
    raise EOFError(text)


def described(daemon: Daemon, name: str) -> str:
    """Return the text of an interface from the socket, read without any library."""
    with Local(daemon.path) as local:
        method = "org.varlink.service.GetInterfaceDescription"
        call = {"method": method, "parameters": {"interface": name}}
        local.goes_on(json.dumps(call).encode() + b"\0")
        text: str = local.reply()["description"]
        return text


def test_information_and_interface_text(tmp_path: Path) -> None:
    with started(tmp_path) as daemon:
        told, _, interfaces = output(daemon, "info", "").partition("Interfaces:\n")
        pairs = (line.partition(": ") for line in told.splitlines())
        assert {name: value for name, _, value in pairs} == {
            "Vendor": "mailbell",
            "Product": "mailbelld",
            "Version": __version__,
            "URL": "https://www.rfc-editor.org/rfc/rfc4146",
        }
        assert interfaces.split() == ["org.varlink.service", INTERFACE]
        for interface in (SERVICE_INTERFACE, LISTENER_INTERFACE):
            name = interface.name
            printed = output(daemon, "help", name)
            assert printed.strip() == described(daemon, name).strip()
            assert printed.strip() == interface.text.strip()
            assert f"\ninterface {name}\n" in printed


def test_status(tmp_path: Path) -> None:
    with started(tmp_path) as daemon:
        status = json.loads(output(daemon, "call", f"{INTERFACE}.GetStatus"))["status"]
        assert status["pid"] == daemon.pid
        assert status["sandbox"]["seccomp"] == 2


# How often a test notifies: so often that one reply cannot be chance.
RUNG: Final = 60
OFTEN: Final = """
[coalesce]
interval = "10ms"
[[account]]
name = "work"
sources = ["127.0.0.2"]
[[account]]
name = "private"
sources = ["127.0.0.3"]
"""
ACCOUNTS: Final = ("work", "private")


def often(directory: Path) -> str:
    return configuration(directory, tcp=("127.0.0.1:0",), more=GENEROUS + OFTEN)


def ring_for(daemon: Daemon, account: str) -> None:
    ring(daemon.endpoint(), source=f"127.0.0.{2 + ACCOUNTS.index(account)}")


def test_varlink_gets_every_notification(tmp_path: Path) -> None:
    with started(tmp_path, often(tmp_path)) as daemon, streaming(daemon) as stream:
        cursors = [next_object(stream)["cursor"]]
        for number in range(RUNG):
            account = ACCOUNTS[number % 2]
            ring_for(daemon, account)
            told = next_object(stream)
            notification = told["notification"]
            assert (notification["account"], notification["count"]) == (account, 1)
            assert notification["transport"] == "tcp"
            assert notification["source"] == f"127.0.0.{2 + number % 2}"
            cursors.append(told["cursor"])
        assert [cursor["sequence"] for cursor in cursors] == list(range(RUNG + 1))
        assert len({cursor["epoch"] for cursor in cursors}) == 1


# asyncvarlink needs the types of the interface, and checks each reply by them.
class Cause(Enum):
    network = "network"
    manual = "manual"
    resync = "resync"


class Transport(Enum):
    tcp = "tcp"
    udp = "udp"


@dataclass
class Cursor:
    epoch: str
    sequence: int


@dataclass
class Notification:
    account: str
    cause: Cause
    count: int
    transport: Transport | None
    source: str | None
    time: int


class Told(TypedDict):
    cursor: Cursor
    notification: Notification | None


class Rung(TypedDict):
    cursor: Cursor


class Listener(VarlinkInterface, name=INTERFACE):
    # These are never called. asyncvarlink reads their types, and that the first one yields.
    @varlinkmethod
    async def Subscribe(  # noqa: N802  the method's name
        self, *, accounts: list[str] | None = None, after: Cursor | None = None
    ) -> AsyncIterator[Told]:
        del accounts
        yield Told(cursor=after or Cursor("", 0), notification=None)

    @varlinkmethod
    async def Notify(self, *, account: str) -> Rung:  # noqa: N802  the method's name
        raise NotImplementedError


async def connected(daemon: Daemon) -> Any:
    transport, protocol = await connect_unix_varlink(VarlinkClientProtocol, str(daemon.path))
    return transport, protocol.make_proxy(Listener)


def test_asyncvarlink_gets_every_notification(tmp_path: Path) -> None:
    async def body(daemon: Daemon) -> list[Told]:
        transport, listener = await connected(daemon)
        told: list[Told] = []
        async with aclosing(listener.Subscribe()) as stream:
            told.append(await anext(stream))
            for number in range(RUNG):
                ring_for(daemon, ACCOUNTS[number % 2])
                told.append(await anext(stream))
        transport.close()
        return told

    with started(tmp_path, often(tmp_path)) as daemon:
        first, *told = asyncio.run(asyncio.wait_for(body(daemon), PATIENCE))
        assert first["notification"] is None
        assert [one["cursor"].sequence for one in told] == list(range(1, RUNG + 1))
        for number, one in enumerate(told):
            notification = one["notification"]
            assert notification is not None
            assert notification.account == ACCOUNTS[number % 2]
            assert (notification.cause, notification.count) == (Cause.network, 1)
            assert notification.transport is Transport.tcp
            assert notification.source == f"127.0.0.{2 + number % 2}"


def test_asyncvarlink_takes_up_where_it_was_rings_by_hand_and_is_told_errors(
    tmp_path: Path,
) -> None:
    async def body(daemon: Daemon) -> None:
        transport, listener = await connected(daemon)
        before = (await listener.Notify(account="work"))["cursor"]
        await listener.Notify(account="private")
        with pytest.raises(GenericVarlinkErrorReply, match="UnknownAccount"):
            await listener.Notify(account="nobody")
        async with aclosing(listener.Subscribe(accounts=list(ACCOUNTS), after=before)) as stream:
            told = await anext(stream)
        assert told["notification"].account == "private"
        assert told["notification"].cause is Cause.resync
        assert told["notification"].transport is None
        transport.close()

    with started(tmp_path, often(tmp_path)) as daemon:
        asyncio.run(asyncio.wait_for(body(daemon), PATIENCE))
