"""Hears from logind, on the system bus, when the machine sleeps (org.freedesktop.login1(5)).

Every program on the bus may send a signal directly to every other program, with any
interface name. So a signal counts only if it comes from the connection that owns logind's
name. The bus tells which connection that is, and when it changes.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Final, Self

import trio
from jeepney import HeaderFields, MatchRule, Message, message_bus
from jeepney.auth import BEGIN, Authenticator
from jeepney.bus import get_bus
from jeepney.io.trio import DBusConnection
from jeepney.wrappers import unwrap_msg

__all__ = ["SYSTEM", "BusError", "Logind", "connect"]

SYSTEM: Final = "SYSTEM"  # jeepney's name for $DBUS_SYSTEM_BUS_ADDRESS or the usual address

_PATIENCE: Final = 10.0  # seconds for the bus to accept the connection
_READ_SIZE: Final = 4096

_LOGIND: Final = "org.freedesktop.login1"
_BUS: Final = "org.freedesktop.DBus"
_SIGNAL: Final = {
    "type": "signal",
    "path": "/org/freedesktop/login1",
    "interface": "org.freedesktop.login1.Manager",
    "member": "PrepareForSleep",
}
_FROM_LOGIND: Final = MatchRule(sender=_LOGIND, **_SIGNAL)
# A message has the number of its sender's connection, never the name in the rule above.
_FROM_ANYBODY: Final = MatchRule(**_SIGNAL)
_NEW_OWNER: Final = MatchRule(type="signal", sender=_BUS, interface=_BUS, member="NameOwnerChanged")
_NEW_OWNER.add_arg_condition(0, _LOGIND)


class BusError(Exception):
    """There is no bus, the bus has no logind, or the connection ended. The text says which."""


class Logind:
    """A connection to the bus that receives logind's signals. `connect` makes it."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self._stream = stream
        self._connection = DBusConnection(stream.socket)
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
                message = await self._connection.receive()
                if _NEW_OWNER.matches(message):
                    _, _, self._owner = message.body
                elif _FROM_ANYBODY.matches(message) and _sender(message) == self._owner:
                    return bool(message.body[0])

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
            data = await self._stream.receive_some(_READ_SIZE)
            if not data:
                raise trio.EndOfChannel
            authenticator.feed(data)
        await self._stream.send_all(BEGIN)

    async def _ask(self, call: Message) -> Any:
        serial = next(self._connection.outgoing_serial)
        await self._connection.send(call, serial=serial)
        while True:
            message = await self._connection.receive()
            if message.header.fields.get(HeaderFields.reply_serial) == serial:
                return unwrap_msg(message)


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
        logind = Logind(await trio.open_unix_socket(get_bus(address)))
        try:
            await logind.begin()
        except BaseException:
            logind.close()
            raise
        return logind


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
    return f"{type(error).__name__}: {error}"


def _sender(message: Message) -> Any:
    return message.header.fields.get(HeaderFields.sender)
