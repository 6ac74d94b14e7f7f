"""Hears from logind, on the system bus, when the machine sleeps (org.freedesktop.login1(5)).

Every program on the bus may send a signal directly to every other program, with any
interface name. So a signal counts only if it comes from the connection that owns logind's
name. The bus tells which connection that is, and when it changes.
"""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Final, Self

import trio
from jeepney import MatchRule, message_bus
from jeepney import Message as Call
from jeepney.auth import BEGIN, Authenticator
from jeepney.bus import get_bus

from mailbell._sys.sockets import refuse_descriptors
from mailbell.agent._dbus import Message, Reader, WireError

__all__ = ["READ_SIZE", "SYSTEM", "BusError", "Logind", "connect"]

SYSTEM: Final = "SYSTEM"  # jeepney's name for $DBUS_SYSTEM_BUS_ADDRESS or the usual address

READ_SIZE: Final = 16 * 1024
"""Bytes that are read before other tasks get their turn, at most."""

_PATIENCE: Final = 10.0  # seconds for the bus to accept the connection

_LOGIND: Final = "org.freedesktop.login1"
_BUS: Final = "org.freedesktop.DBus"
_PATH: Final = "/org/freedesktop/login1"
_MANAGER: Final = "org.freedesktop.login1.Manager"
_SIGNAL: Final = "PrepareForSleep"
_OWNER_CHANGED: Final = "NameOwnerChanged"
_FROM_LOGIND: Final = MatchRule(
    type="signal", sender=_LOGIND, path=_PATH, interface=_MANAGER, member=_SIGNAL
)
_NEW_OWNER: Final = MatchRule(type="signal", sender=_BUS, interface=_BUS, member=_OWNER_CHANGED)
_NEW_OWNER.add_arg_condition(0, _LOGIND)


class BusError(Exception):
    """There is no bus, the bus has no logind, or the connection ended. The text says which."""


class Logind:
    """A connection to the bus that receives logind's signals. `connect` makes it."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self._stream = stream
        self._reader = Reader()
        self._serial = 0
        self._owner = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection. Closing it again does nothing."""
        self._stream.socket.close()

    async def falls_asleep(self) -> bool:
        """Wait for logind's next signal.

        Returns:
            True: the machine is about to sleep; False: the machine is awake again.

        Raises:
            BusError: no signal will come any more.
        """
        with _explained():
            while True:
                message = await self._receive()
                if _is_new_owner(message):
                    self._owner = message.texts[2]
                elif _is_announcement(message) and message.sender == self._owner:
                    return bool(message.truth)

    async def begin(self) -> None:
        """Log in, and ask for the signals."""
        await self._authenticate()
        await self._ask(message_bus.Hello())
        # Ask for changes before the present owner: so no change is missed in between.
        await self._ask(message_bus.AddMatch(_NEW_OWNER))
        await self._ask(message_bus.AddMatch(_FROM_LOGIND))
        (self._owner,) = await self._ask(message_bus.GetNameOwner(_LOGIND))

    async def _authenticate(self) -> None:
        authenticator = Authenticator()
        for line in authenticator:
            await self._stream.send_all(line)
            data = await self._stream.receive_some(READ_SIZE)
            if not data:
                raise trio.EndOfChannel
            authenticator.feed(data)
        await self._stream.send_all(BEGIN)

    async def _ask(self, call: Call) -> tuple[str, ...]:
        self._serial += 1
        await self._stream.send_all(call.serialise(self._serial))
        while True:
            message = await self._receive()
            if _is_answer(message, self._serial):
                if message.error:
                    raise BusError(": ".join([message.error, *message.texts]))
                return message.texts

    async def _receive(self) -> Message:
        """Return the next message. To read is a checkpoint also when there is much to read."""
        while (message := self._reader.take()) is None:
            data = await self._stream.receive_some(READ_SIZE)
            if not data:
                raise trio.EndOfChannel
            self._reader.feed(data)
        return message


def _is_answer(message: Message, serial: int) -> bool:
    # Another program may send an answer to a call that it never got.
    return message.sender == _BUS and message.answers == serial


def _is_new_owner(message: Message) -> bool:
    return (
        (message.sender, message.interface, message.member) == (_BUS, _BUS, _OWNER_CHANGED)
        and len(message.texts) == 3
        and message.texts[0] == _LOGIND
    )


def _is_announcement(message: Message) -> bool:
    """Tell whether it is a signal of logind's form. Every program on the bus can send one."""
    # A message has the number of its sender's connection, and never logind's name.
    form = (message.path, message.interface, message.member)
    return form == (_PATH, _MANAGER, _SIGNAL) and message.truth is not None


async def connect(address: str = SYSTEM) -> Logind:
    """Connect to the bus and ask for logind's signals.

    Args:
        address: the address of the bus, such as `unix:path=/run/dbus/system_bus_socket`.

    Returns:
        A connection. The caller closes it.

    Raises:
        BusError: there is no bus, or the bus has no logind.
    """
    with _explained(), trio.fail_after(_PATIENCE):
        logind = Logind(await _open(get_bus(address)))
        try:
            await logind.begin()
        except BaseException:
            logind.close()
            raise
        return logind


async def _open(path: str) -> trio.SocketStream:
    sock = trio.socket.from_stdlib_socket(_unconnected())
    try:
        await sock.connect(path)
    except BaseException:
        sock.close()
        raise
    return trio.SocketStream(sock)


def _unconnected() -> socket.socket:
    sock = socket.socket(socket.AF_UNIX)
    refuse_descriptors(sock)  # logind's signals have none
    return sock


@contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except Exception as error:
        # Every exception: jeepney has no error types of its own for bad data from the bus.
        # After any of them, nothing more can be read.
        raise BusError(_reason(error)) from error


def _reason(error: Exception) -> str:
    match error:
        case OSError(strerror=str(text)):
            return text
        case trio.TooSlowError():
            return "the bus does not answer"
        case trio.EndOfChannel() | trio.BrokenResourceError():
            return "the bus went away"
        case BusError() | WireError():
            return str(error)
    return f"{type(error).__name__}: {error}"
