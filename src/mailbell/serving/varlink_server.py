"""The local socket: a Varlink server that one bad client cannot disturb.

It serves any interface: the caller brings the interfaces and a handler for each
method. Each connection has one task that reads and answers in turn; a call that is
answered more than once adds one that waits for the peer to hang up. A client is
bounded in the length of a message, in calls a second, in how long it may say nothing
and in how long it may leave an answer unread. When every place is taken, a newcomer
gets the place of the client that has held one longest without such a call: a client
that has nothing to say cannot shut the others out.
"""

import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import trio

from mailbell import varlink
from mailbell._sys.connections import taker
from mailbell._sys.sockets import PeerCredentials
from mailbell.core.errors import InternalError
from mailbell.interfaces.local_event import LocalEvent
from mailbell.logs.journal import Journal, Level
from mailbell.serving._varlink_peer import Hangup, ReplySource, VarlinkPeer
from mailbell.serving.intake import Intake

__all__ = ["BATCH", "Handlers", "ReplySource", "VarlinkServer"]

BATCH = 16  # connections accepted before the other tasks have their turn


@dataclass(frozen=True, slots=True)
class Handlers:
    """What answers the calls, by the type of the request.

    A handler is given the request and the caller, and returns the reply. One in
    `streams` is also given a function to call whenever its source has something
    new, and returns the source of the replies. Both may raise a `ServiceError`.

    Attributes:
        replies: for methods that answer once.
        streams: for methods that answer more than once.
    """

    replies: Mapping[type, Callable[[Any, PeerCredentials], varlink.Request]] = field(
        default_factory=dict
    )
    streams: Mapping[type, Callable[[Any, PeerCredentials, Callable[[], None]], ReplySource]] = (
        field(default_factory=dict)
    )


class VarlinkServer:
    """Serves interfaces on one listening Unix socket.

    Args:
        sock: listening, non-blocking.
        service: the interfaces.
        handlers: what answers their calls.
        count: told of everything that happens here.
        journal: where it is logged.
        connections: how many there may be at once.
    """

    def __init__(
        self,
        sock: socket.socket,
        service: varlink.Service,
        handlers: Handlers,
        *,
        count: Callable[[LocalEvent], None],
        journal: Journal,
        connections: int,
    ) -> None:
        self._service = service
        self._handlers = handlers
        self._count = count
        self._journal = journal
        self._max_connections = connections
        self._connections = 0
        # Connections that only ask now and then, the oldest first.
        self._guests: dict[trio.CancelScope, None] = {}
        self._intake = Intake(
            sock,
            taker(sock),
            batch=BATCH,
            journal=journal,
            what="accepting",
            where="local socket",
        )
        self._nursery: trio.Nursery  # of the connections

    async def serve(self) -> None:
        """Accept for ever. One client's misbehaviour ends one connection, never this."""
        async with trio.open_nursery() as self._nursery:
            await self._intake.serve(self._admit)

    def _admit(self, connection: socket.socket, _: float) -> None:
        if self._connections >= self._max_connections:
            for oldest in self._guests:
                oldest.cancel()
                del self._guests[oldest]
                break
            else:
                self._count(LocalEvent.REFUSED_FULL)
                connection.close()
                return
        try:
            self._nursery.start_soon(self._host, connection)
        except MemoryError:  # it has no other owner
            connection.close()
            raise
        self._connections += 1

    async def _host(self, connection: socket.socket) -> None:
        """Hold one connection from its beginning to its one counted end."""
        event = LocalEvent.DISCONNECTED
        scope = trio.CancelScope()
        self._guests[scope] = None
        try:
            with scope:
                event = await self._converse_untrusted(connection, scope)
            if scope.cancelled_caught:
                event = LocalEvent.DISPLACED
        except Exception as error:  # a bug met by one client must not stop the others
            event = LocalEvent.FAILED
            self._journal.log(Level.ERROR, "failed", where="local socket", error=repr(error))
        finally:
            connection.close()
            self._guests.pop(scope, None)
            self._connections -= 1
            self._count(event)

    async def _converse_untrusted(
        self, connection: socket.socket, scope: trio.CancelScope
    ) -> LocalEvent:
        """Answer one client until it, or we, have enough; say how it ended."""
        self._count(LocalEvent.CONNECTED)
        peer = VarlinkPeer(connection)
        try:
            while True:
                await self._answer_untrusted(peer, await peer.next_call_untrusted(), scope)
        except Hangup as hangup:
            if hangup.event is not LocalEvent.DISCONNECTED:
                who = peer.credentials
                self._journal.log(
                    Level.NOTICE,
                    "local_closed",
                    pid=who.pid,
                    uid=who.uid,
                    gid=who.gid,
                    reason=hangup.event,
                )
            return hangup.event

    async def _answer_untrusted(
        self, peer: VarlinkPeer, message: bytes, scope: trio.CancelScope
    ) -> None:
        try:
            call = varlink.parse_call_untrusted(message)
        except varlink.ProtocolError as error:
            raise Hangup(LocalEvent.GARBAGE) from error
        try:
            request = self._service.decode_untrusted(call)
            if start := self._handlers.streams.get(type(request)):
                source = start(request, peer.credentials, peer.wake)
                await self._stream(peer, source, scope)
            reply = varlink.encode_reply(self._reply(request, peer.credentials))
        except varlink.ServiceError as error:
            reply = varlink.encode_error(error)
        except varlink.ProtocolError as error:
            raise Hangup(LocalEvent.BAD_CALL) from error
        if not call.oneway:
            await peer.send(reply)

    def _reply(self, request: varlink.Request, caller: PeerCredentials) -> varlink.Request:
        if handler := self._handlers.replies.get(type(request)):
            return handler(request, caller)
        if (reply := self._service.answer(request)) is not None:
            return reply
        raise InternalError(f"no answer to {type(request).__name__}")

    async def _stream(
        self, peer: VarlinkPeer, source: ReplySource, scope: trio.CancelScope
    ) -> None:
        """Send replies until the peer hangs up: returns only by `Hangup`."""
        # It keeps its place: only those who have nothing to say give way.
        self._guests.pop(scope, None)
        try:
            await peer.stream(source)
        finally:
            source.close()
