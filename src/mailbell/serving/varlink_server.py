"""The local socket: a Varlink server that one bad client cannot disturb.

It serves any interface: the caller brings the interfaces and a handler for each
method. One task for each connection reads calls and answers them in order. A call that is
answered more than once (a stream) adds a task that waits until the client hangs up.

Each client has limits: the length of a message, calls per second, the time without a
call and the time that an answer stays unread. Each user has a limit for the connections and
calls of all its clients, so a client gains nothing when it connects again (`Users`).
All clients together do a bounded part of their work in one turn of the event loop (`Turns`).

A user may have thousands of numbers: subuid(5) gives each user of a machine 65,536 for its
user namespaces. So all users with such numbers share one more limit, and count as one where
places are given.

If every place is taken, a new client gets a place of the user that holds most without a
stream: that of the client that has held it longest, which is disconnected. So clients that
only hold places cannot keep the others out, and cannot take the places of another user.
"""

import socket
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import trio

from mailbell import varlink
from mailbell._sys.connections import close, make_socket_acceptor
from mailbell._sys.sockets import PeerCredentials, peer_credentials
from mailbell.core.errors import InternalError
from mailbell.interfaces.local_event import LocalEvent
from mailbell.logs.journal import Journal, Level
from mailbell.serving._turns import Turns
from mailbell.serving._users import CROWD, Users
from mailbell.serving._varlink_peer import Hangup, ReplySource, VarlinkPeer
from mailbell.serving.intake import Intake

__all__ = ["BATCH", "USER_RATE", "Handlers", "ReplySource", "VarlinkServer", "user_burst"]

BATCH = 8  # connections accepted before other tasks run
REST = 0.001  # seconds until more connections are accepted after a full batch
SHARE = 6  # one of so many places may be taken by a client that waits until its user may call
USER_RATE = 100.0
"""Connections and calls a second that all clients of one user may make after their burst, unless
the caller of `VarlinkServer` says otherwise."""


def user_burst(connections: int) -> int:
    """Return how many connections and calls one user may make at once.

    All of a user's clients come back at once when the daemon restarts: each connects and
    calls, and may try several times.

    Args:
        connections: how many connections there may be at once.
    """
    return 8 * connections


@dataclass(frozen=True, slots=True)
class Handlers:
    """The functions that answer the calls, by the type of the request.

    A handler gets the request and the caller's credentials, and returns the reply. A
    handler in `streams` also gets a function, which its source must call whenever it has
    something new; the handler returns the source. Both may raise a `ServiceError`.

    Attributes:
        replies: handlers of methods that answer once.
        streams: handlers of methods that answer more than once.
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
        sock: the listening socket, non-blocking.
        service: the interfaces.
        handlers: the functions that answer their calls.
        count: called with each event at this socket.
        journal: logs what happens here.
        connections: how many connections there may be at once.
        too_fast: the answer to a user that connects or calls too often. The connection is
            then closed.
        user_rate: connections and calls a second that all clients of one user may make after
            their burst.
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
        too_fast: varlink.ServiceError,
        user_rate: float = USER_RATE,
    ) -> None:
        self._service = service
        self._handlers = handlers
        self._count = count
        self._journal = journal
        self._max_connections = connections
        self._too_fast = varlink.encode_error(too_fast)
        self._users = Users(user_rate, user_burst(connections), max(1, connections // SHARE))
        self._turns = Turns()
        self._connections = 0
        # Connections without a stream by the number of their user, the oldest first. They may
        # lose their place.
        self._without_stream: dict[int, dict[trio.CancelScope, None]] = {}
        self._intake = Intake(
            sock,
            make_socket_acceptor(sock),
            batch=BATCH,
            journal=journal,
            what="accepting",
            where="local socket",
            rest=REST,
        )
        self._nursery: trio.Nursery  # of the connections

    async def serve(self) -> None:
        """Accept for ever. A client that misbehaves ends its own connection and no other."""
        async with trio.open_nursery() as self._nursery:
            self._nursery.start_soon(self._turns.serve)
            self._nursery.start_soon(self._users.serve)
            await self._intake.serve(self._admit)

    def _admit(self, connection: socket.socket, _: float) -> None:
        try:
            caller = peer_credentials(connection)
            if not self._users.is_full(caller.uid):
                self._take_place(connection, caller)
                return
            self._count(LocalEvent.REFUSED_USER)
            self._log_close("local_refused", caller, LocalEvent.REFUSED_USER)
            self._say_too_fast(connection)
        except BaseException:  # it has no other owner
            close(connection)
            raise
        close(connection)

    async def _may_call(self, uid: int) -> bool:
        """Take one call from what a user may do, perhaps later; return whether it may wait."""
        if self._users.is_full(uid):
            return False
        await self._users.wait(uid)
        return True

    def _say_too_fast(self, connection: socket.socket) -> None:
        # The send buffer of a new connection is empty. A full one needs no answer any more.
        with suppress(OSError):
            connection.send(self._too_fast)

    def _take_place(self, connection: socket.socket, caller: PeerCredentials) -> None:
        if self._connections >= self._max_connections:
            if not self._without_stream:
                self._count(LocalEvent.REFUSED_FULL)
                close(connection)
                return
            self._displace_one(min(caller.uid, CROWD))
        self._nursery.start_soon(self._host, connection, caller)
        self._connections += 1

    def _displace_one(self, user: int) -> None:
        """Disconnect the oldest client of the user that holds most; of equals, the caller's."""
        most = max(
            self._without_stream, key=lambda one: (len(self._without_stream[one]), one == user)
        )
        oldest = next(iter(self._without_stream[most]))
        oldest.cancel()
        self._keep_place(oldest, most)

    def _keep_place(self, scope: trio.CancelScope, user: int) -> None:
        """Note that a client cannot lose its place any more, or has none."""
        held = self._without_stream.get(user, {})
        held.pop(scope, None)
        if not held:
            self._without_stream.pop(user, None)

    async def _host(self, connection: socket.socket, caller: PeerCredentials) -> None:
        """Serve one connection from its beginning to its end, which is counted once."""
        event = LocalEvent.DISCONNECTED
        scope = trio.CancelScope()
        user = min(caller.uid, CROWD)
        self._without_stream.setdefault(user, {})[scope] = None
        try:
            with scope:
                event = await self._converse_untrusted(connection, caller, scope)
            if scope.cancelled_caught:
                event = LocalEvent.DISPLACED
        except Exception as error:  # a bug that one client meets must not stop the others
            event = LocalEvent.FAILED
            self._journal.log(Level.ERROR, "failed", where="local socket", error=repr(error))
        finally:
            close(connection)
            self._keep_place(scope, user)
            self._connections -= 1
            self._count(event)

    async def _converse_untrusted(
        self, connection: socket.socket, caller: PeerCredentials, scope: trio.CancelScope
    ) -> LocalEvent:
        """Answer one client until the client or the daemon ends it; return how it ended."""
        self._count(LocalEvent.CONNECTED)
        may_call = partial(self._may_call, caller.uid)
        peer = VarlinkPeer(connection, caller, self._turns, may_call)
        await self._users.wait(caller.uid)
        try:
            while True:
                await self._answer_untrusted(peer, await peer.next_call_untrusted(), scope)
        except Hangup as hangup:
            if hangup.event is LocalEvent.USER_TOO_FAST:
                self._say_too_fast(connection)
            if hangup.event is not LocalEvent.DISCONNECTED:
                self._log_close("local_closed", caller, hangup.event)
            return hangup.event

    def _log_close(self, event: str, caller: PeerCredentials, reason: LocalEvent) -> None:
        who = {"pid": caller.pid, "uid": caller.uid, "gid": caller.gid}
        self._journal.log(Level.NOTICE, event, **who, reason=reason)

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
        """Send replies until the client hangs up. This always ends with `Hangup`."""
        # A client with a stream keeps its place.
        self._keep_place(scope, min(peer.credentials.uid, CROWD))
        try:
            await peer.stream(source)
        finally:
            source.close()
