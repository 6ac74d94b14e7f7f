"""A system bus for the tests, and a logind that announces a sleep when a test says so."""

import os
import pwd
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pytest
from harness.sender import PATIENCE
from jeepney import (
    DBusAddress,
    HeaderFields,
    Message,
    MessageType,
    message_bus,
    new_method_return,
    new_signal,
)
from jeepney.io.blocking import open_dbus_connection
from jeepney.wrappers import unwrap_msg

__all__ = ["LOGIND", "Bus", "Peer", "owner_changed", "signal", "started"]

LOGIND = "org.freedesktop.login1"
MANAGER = DBusAddress("/org/freedesktop/login1", LOGIND, "org.freedesktop.login1.Manager")

# Every client may do anything: only the test knows the address.
CONFIGURATION = """
<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <listen>unix:path={path}</listen>
  <auth>EXTERNAL</auth>
  {more}
  <policy context="default">
    <allow own="*"/>
    <allow send_destination="*"/>
    <allow receive_sender="*"/>
  </policy>
</busconfig>
"""


def signal(preparing: bool) -> Message:
    """logind's signal: before a sleep, or after it."""
    return new_signal(MANAGER, "PrepareForSleep", "b", (preparing,))


def owner_changed(number: str) -> Message:
    """The bus's signal that logind's name has a new owner, forged."""
    bus = DBusAddress("/org/freedesktop/DBus", interface="org.freedesktop.DBus")
    return new_signal(bus, "NameOwnerChanged", "sss", (LOGIND, "", number))


@dataclass
class Bus:
    """A dbus-daemon that accepts connections."""

    process: "subprocess.Popen[bytes]"
    address: str

    def stop(self) -> None:
        self.process.kill()
        self.process.wait(PATIENCE)


class Peer:
    """A client of the bus.

    Args:
        bus: the bus.
        name: the name to own; by default none.
    """

    def __init__(self, bus: Bus, name: str = "") -> None:
        self._connection: Any = open_dbus_connection(bus.address)
        if name:
            self._ask(message_bus.RequestName(name))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._connection.close()

    def sleep(self) -> None:
        self.send(signal(True))

    def wake(self) -> None:
        self.send(signal(False))

    def send(self, message: Message, to: str = "") -> None:
        """Send a message. When this returns, the bus has passed it on."""
        if to:
            message.header.fields[HeaderFields.destination] = to
        self._connection.send(message)
        # The first answer may be written before the messages of the same turn of the bus's
        # loop; the second answer is of a later turn.
        for _ in range(2):
            self._ask(message_bus.GetId())

    def tell_properties(self) -> None:
        """Answer the next call, which asks for all properties, with none.

        A client of GLib hears no signal before it has that answer.
        """
        while True:
            message = self._connection.receive(timeout=PATIENCE)
            if message.header.message_type is MessageType.method_call:
                self._connection.send(new_method_return(message, "a{sv}", ({},)))
                return

    def written(self, message: Message, to: str) -> bytes:
        """The bytes of a message to another connection."""
        message.header.fields[HeaderFields.destination] = to
        return bytes(message.serialise(next(self._connection.outgoing_serial)))

    def send_raw(self, data: bytes) -> None:
        """Send bytes. When this returns, the bus has passed them on."""
        self._connection.sock.setblocking(True)
        self._connection.sock.sendall(data)
        for _ in range(2):
            self._ask(message_bus.GetId())

    @property
    def number(self) -> str:
        """The bus's name of this connection."""
        return str(self._connection.unique_name)

    def others(self) -> list[str]:
        """The numbers of all other connections."""
        (names,) = self._ask(message_bus.ListNames())
        return [n for n in names if n.startswith(":") and n != self.number]

    def release(self, name: str) -> None:
        self._ask(message_bus.ReleaseName(name))

    def _ask(self, call: Message) -> Any:
        return unwrap_msg(self._connection.send_and_get_reply(call, timeout=PATIENCE))


@contextmanager
def started(directory: Path, more: str = "", *, command: Sequence[str] = ()) -> Iterator[Bus]:
    """Run a bus until the end of the block. The test is skipped if there is no dbus-daemon.

    Args:
        directory: the folder for the files of the bus.
        more: text to add to the configuration.
        command: what to run it through, as in `nsenter ...`.
    """
    if shutil.which("dbus-daemon") is None:
        pytest.skip("dbus-daemon is not installed")
    try:
        pwd.getpwuid(os.geteuid())
    except KeyError:
        pytest.skip("dbus-daemon lets in nobody who has no name in the user database")
    file = directory / "bus.conf"
    file.write_text(CONFIGURATION.format(path=directory / "bus", more=more))
    reader, writer = os.pipe()
    process = subprocess.Popen(
        [*command, "dbus-daemon", f"--config-file={file}", "--nofork", "--nopidfile",
         f"--print-address={writer}"],
        pass_fds=[writer], stdin=subprocess.DEVNULL,
    )  # fmt: skip
    os.close(writer)
    with open(reader) as told:
        bus = Bus(process, told.readline().strip())
    try:
        assert bus.address, "dbus-daemon ended"
        yield bus
    finally:
        bus.stop()
