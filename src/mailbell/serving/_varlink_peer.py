"""One client of the local socket: reads bytes as calls, and writes replies as bytes.

A conversation always ends with `Hangup`. It carries the `LocalEvent` that says how the
conversation ended, so that each connection is counted exactly once.
"""

import socket
from collections import deque
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Protocol

import trio

from mailbell import varlink
from mailbell._sys.sockets import PeerCredentials, limit_send_buffer
from mailbell.interfaces.local_event import LocalEvent
from mailbell.limits.limiter import Bucket
from mailbell.serving._turns import CALL, REPLY, Turns

__all__ = ["Hangup", "ReplySource", "VarlinkPeer"]

CALL_RATE = 1.0  # calls per second that a client may make after its burst
CALL_BURST = 10  # calls that a client may make at once
IDLE = 60.0  # seconds that a client may send nothing
UNREAD = 10.0  # seconds that a client may leave the answer to a call unread
CHUNK = 4096  # bytes read at once


class ReplySource(Protocol):
    """The source of the replies to one call that is answered more than once."""

    @property
    def waiting(self) -> bool:
        """Whether there is something to send."""

    def next_reply(self) -> varlink.Request:
        """Return the next reply. The server takes the first one at once, `waiting` or not."""

    def close(self) -> None:
        """Note that the client has gone. The server calls this once."""


class Hangup(Exception):  # noqa: N818 - not an error: how a conversation ends
    """A conversation is over.

    Args:
        event: how it ended, for the counters.
    """

    def __init__(self, event: LocalEvent) -> None:
        super().__init__(event)
        self.event = event


class VarlinkPeer:
    """One connection.

    Args:
        connection: accepted on the local socket. The caller must close it.
        credentials: process, user and group of the client.
        turns: gives this client its turns among all clients.
        may_call: takes one call from what the client's user may do, when it is its turn;
            returns whether it may wait for that.

    Attributes:
        credentials: as given.
    """

    def __init__(
        self,
        connection: socket.socket,
        credentials: PeerCredentials,
        turns: Turns,
        may_call: Callable[[], Awaitable[bool]],
    ) -> None:
        connection.setblocking(False)
        limit_send_buffer(connection)
        self.credentials = credentials
        self._socket = connection
        self._turns = turns
        self._may_call = may_call
        self._decoder = varlink.Decoder(varlink.CALL_LIMIT)
        self._bucket = Bucket(CALL_RATE, CALL_BURST)
        self._calls: deque[bytes] = deque()  # bounded by the bucket
        self._changed = trio.Event()

    def wake(self) -> None:
        """Make `stream` ask its source for something new, when it is this client's turn."""
        self._turns.ask(self._changed, REPLY)

    async def next_call_untrusted(self) -> bytes:
        """Return the next call, as bytes that no code has checked yet.

        Raises:
            Hangup: the client has gone, is too fast, sends nothing or sends too much.
        """
        if self._calls:
            await self._turns.wait(CALL)
        while not self._calls:
            await self._read_calls_untrusted()
        return self._calls.popleft()

    async def _read_calls_untrusted(self) -> None:
        with trio.move_on_after(IDLE) as timer:
            data = await self._receive_untrusted()
        if timer.cancelled_caught:
            raise Hangup(LocalEvent.IDLE)
        if not data:
            raise Hangup(LocalEvent.DISCONNECTED)
        await self._turns.wait(CALL)
        try:
            calls = self._decoder.feed_untrusted(data)
        except varlink.MessageTooLong as error:
            raise Hangup(LocalEvent.TOO_LONG) from error
        if not all(self._bucket.take(trio.current_time()) for _ in calls):
            raise Hangup(LocalEvent.TOO_FAST)
        # A piece of a call counts as a call: it takes time too.
        for _ in calls or (b"",):
            if not await self._may_call():
                raise Hangup(LocalEvent.USER_TOO_FAST)
        self._calls.extend(calls)

    async def send(self, message: bytes) -> None:
        """Send all of a message.

        Raises:
            Hangup: the client has gone, or does not read.
        """
        # Other tasks run before each answer, also while a burst of calls is answered.
        await trio.lowlevel.checkpoint()
        with trio.move_on_after(UNREAD) as timer:
            await self._send(message)
        if timer.cancelled_caught:
            raise Hangup(LocalEvent.UNREAD)

    async def stream(self, source: ReplySource) -> None:
        """Send replies to one call, whenever the client can take one, until it hangs up.

        Args:
            source: the source of the replies, made with `wake` of this peer.

        Raises:
            Hangup: always. It says how the subscription ended.
        """
        # Encoded before any other task runs: a later notification does not belong into
        # the first reply.
        first = _encoded(source)
        ends: list[LocalEvent] = []
        async with trio.open_nursery() as nursery:
            sending = partial(self._send_replies, first, source)
            nursery.start_soon(self._run, self._await_hangup, ends, nursery)
            nursery.start_soon(self._run, sending, ends, nursery)
        raise Hangup(ends[0])

    async def _run(
        self,
        half: Callable[[], Awaitable[None]],
        ends: list[LocalEvent],
        nursery: trio.Nursery,
    ) -> None:
        """Run one half of a stream. The half that ends first ends the other one too."""
        try:
            await half()
        except Hangup as hangup:
            ends.append(hangup.event)
            nursery.cancel_scope.cancel()

    async def _await_hangup(self) -> None:
        # Varlink answers calls in order, and the answer to this call never ends. So a
        # subscriber must not call again on this connection.
        if self._calls or await self._receive_untrusted():
            raise Hangup(LocalEvent.BAD_CALL)
        raise Hangup(LocalEvent.DISCONNECTED)

    async def _send_replies(self, first: bytes, source: ReplySource) -> None:
        """Send the first reply, and then one whenever the source has something new."""
        await self._send(first)
        while True:
            if source.waiting:
                await self._turns.wait(REPLY)
            else:
                self._changed = trio.Event()
                await self._changed.wait()
                self._turns.begin(self._changed)
            # The send buffer holds only a few replies. If the client does not read, this
            # waits with one reply, and the source merges what happens meanwhile.
            await self._send(_encoded(source))

    async def _receive_untrusted(self) -> bytes:
        while True:
            try:
                return self._socket.recv(CHUNK)
            except BlockingIOError:
                await trio.lowlevel.wait_readable(self._socket)
            except OSError as error:
                raise Hangup(LocalEvent.DISCONNECTED) from error

    async def _send(self, message: bytes) -> None:
        rest = memoryview(message)
        while rest:
            try:
                rest = rest[self._socket.send(rest) :]
            except BlockingIOError:
                await trio.lowlevel.wait_writable(self._socket)
            except OSError as error:
                raise Hangup(LocalEvent.DISCONNECTED) from error


def _encoded(source: ReplySource) -> bytes:
    return varlink.encode_reply(source.next_reply(), continues=True)
