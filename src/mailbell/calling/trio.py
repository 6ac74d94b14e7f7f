"""Calls a daemon and awaits the answer: what every client for Trio inherits."""

import socket
from typing import TypeVar

import trio

from mailbell.calling.connect import connect, pauses
from mailbell.calling.daemon import Daemon
from mailbell.calling.exchange import READ_SIZE, Exchange, encode_call_checked
from mailbell.calling.explain import BusyError, explain_silence
from mailbell.calling.places import Located
from mailbell.varlink import Request

__all__ = ["Caller", "Channel"]

_T = TypeVar("_T")


class Channel:
    """A connected socket. The caller sets the deadlines.

    Args:
        connected: the socket. `close` closes it.
    """

    def __init__(self, connected: socket.socket) -> None:
        self._socket = trio.socket.from_stdlib_socket(connected)

    async def send(self, data: bytes) -> None:
        """Send all of the bytes. If the daemon has closed, `receive` tells what it said before.

        Args:
            data: the bytes.
        """
        try:
            while data:
                sent = await self._socket.send(data, socket.MSG_NOSIGNAL)
                data = data[sent:]
        except OSError:  # the daemon may have said why; the caller reads that next
            return

    async def receive(self) -> bytes:
        """Return the next bytes; empty when the connection ended for any reason."""
        try:
            return await self._socket.recv(READ_SIZE)
        except OSError:
            return b""

    def close(self) -> None:
        """Close the socket. Closing it again does nothing."""
        self._socket.close()


class Caller(Located):
    """Calls one daemon. Each call has a connection of its own, and may be cancelled.

    Args:
        daemon: the daemon.
        places: the paths where its socket may be; at least one.
        timeout: how long to wait for the answer to a call, in seconds. It is also an attribute.
        daemon_user: a user whose daemon is trusted, as for `require_trusted`.
    """

    def __init__(
        self,
        daemon: Daemon,
        places: tuple[str, ...],
        *,
        timeout: float,
        daemon_user: str | None,
    ) -> None:
        super().__init__(places)
        self._daemon = daemon
        self._daemon_user = daemon_user
        self.timeout = timeout

    async def _call(self, request: Request, kind: type[_T]) -> _T:
        message = encode_call_checked(request, self._daemon)
        exchange = Exchange(self._daemon)
        deadline = trio.current_time() + self.timeout
        channel = await self._open(deadline)
        try:
            with trio.fail_at(deadline):
                await channel.send(message)
                while not exchange.ready:
                    exchange.receive_untrusted(await channel.receive())
        except trio.TooSlowError:
            raise explain_silence(self.timeout, self._daemon) from None
        finally:
            channel.close()
        return exchange.take_untrusted(kind)[0]

    async def _open(self, deadline: float) -> Channel:
        """Connect. While the daemon's queue is full, try again until the deadline."""
        await trio.lowlevel.checkpoint()
        pause = pauses()
        while True:
            try:
                connected, self._found = connect(self.places, self._daemon, self._daemon_user)
                return Channel(connected)
            except BusyError:
                seconds = next(pause)
                if trio.current_time() + seconds > deadline:
                    raise
            await trio.sleep(seconds)
