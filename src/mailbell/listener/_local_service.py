"""The local socket: a Varlink server that one bad client cannot disturb.

Each connection has one task that reads and answers in turn; a subscription
adds one that waits for the peer to hang up. A client is bounded in the length
of a message, in calls a second, in how long it may say nothing and in how long
it may leave an answer unread. When every place is taken, a newcomer gets the
place of the client that has held one longest without subscribing: whoever has
nothing to say cannot shut the others out.
"""

import errno
import socket
import time
from collections.abc import Callable

import trio

from mailbell import varlink
from mailbell.core.errors import InternalError
from mailbell.interfaces.listener import Counters, LocalEvent, Status
from mailbell.listener._hub import MANUAL, Hub, Subscriber
from mailbell.listener._local_peer import Hangup, LocalPeer
from mailbell.logs.journal import Journal, Level
from mailbell.logs.switch import Switch

__all__ = ["Service", "local_connections"]

SPARE = 32  # connections beyond the subscribers: `status`, `notify` and the like
BATCH = 16  # connections accepted before the other tasks have their turn
PAUSE = 0.25  # seconds until accepting is tried again when the system is out of something


def local_connections(subscribers: int) -> int:
    """Return how many connections the local socket holds at most.

    Args:
        subscribers: how many subscriptions there may be.
    """
    return subscribers + SPARE


class Service:
    """Serves `org.mailbell.Listener` on one listening Unix socket.

    Args:
        sock: listening, non-blocking.
        hub: what the clients subscribe to.
        counters: told of everything that happens here.
        journal: where it is logged.
        status: returns the answer to `GetStatus`.
        subscribers: subscriptions at most.
    """

    def __init__(
        self,
        sock: socket.socket,
        hub: Hub,
        counters: Counters,
        journal: Journal,
        *,
        status: Callable[[], Status],
        subscribers: int,
    ) -> None:
        self._socket = sock
        self._hub = hub
        self._counters = counters
        self._journal = journal
        self._status = status
        self._max_subscribers = subscribers
        self._max_connections = local_connections(subscribers)
        self._connections = 0
        # Connections without a subscription, the oldest first.
        self._guests: dict[trio.CancelScope, None] = {}
        self._accepting = Switch(journal, "accepting", "local socket")

    async def serve(self) -> None:
        """Accept for ever. One client's misbehaviour ends one connection, never this."""
        async with trio.open_nursery() as nursery:
            while True:
                await trio.lowlevel.wait_readable(self._socket)
                if not self._accept_batch(nursery):
                    await trio.sleep(PAUSE)

    def _accept_batch(self, nursery: trio.Nursery) -> bool:
        """Accept what is ready; return False when the system is out of something."""
        for _ in range(BATCH):
            try:
                connection, _ = self._socket.accept()
            except BlockingIOError:
                return True
            except OSError as error:
                self._accepting.off(errno.errorcode.get(error.errno or 0, "?"))
                return False
            self._accepting.on()
            self._admit(connection, nursery)
        return True

    def _admit(self, connection: socket.socket, nursery: trio.Nursery) -> None:
        if self._connections >= self._max_connections:
            for oldest in self._guests:
                oldest.cancel()
                del self._guests[oldest]
                break
            else:
                self._counters.count_local(LocalEvent.REFUSED_FULL)
                connection.close()
                return
        self._connections += 1
        nursery.start_soon(self._host, connection)

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
            self._counters.count_local(event)

    async def _converse_untrusted(
        self, connection: socket.socket, scope: trio.CancelScope
    ) -> LocalEvent:
        """Answer one client until it, or we, have enough; say how it ended."""
        self._counters.count_local(LocalEvent.CONNECTED)
        peer = LocalPeer(connection)
        try:
            while True:
                await self._answer_untrusted(peer, await peer.next_call_untrusted(), scope)
        except Hangup as hangup:
            if hangup.event is not LocalEvent.DISCONNECTED:
                self._log(Level.NOTICE, "local_closed", peer, reason=hangup.event)
            return hangup.event

    async def _answer_untrusted(
        self, peer: LocalPeer, message: bytes, scope: trio.CancelScope
    ) -> None:
        try:
            call = varlink.parse_call_untrusted(message)
        except varlink.ProtocolError as error:
            raise Hangup(LocalEvent.GARBAGE) from error
        try:
            method = varlink.decode_method_untrusted(call)
            if isinstance(method, varlink.Subscribe):
                await self._stream(peer, method, scope)
            reply = varlink.encode_reply(self._call(method, peer))
        except varlink.ServiceError as error:
            reply = varlink.encode_error(error)
        except varlink.ProtocolError as error:
            raise Hangup(LocalEvent.BAD_CALL) from error
        if not call.oneway:
            await peer.send(reply)

    def _call(self, method: varlink.Method, peer: LocalPeer) -> object:
        match method:
            case varlink.GetInfo():
                return varlink.service_information()
            case varlink.GetInterfaceDescription(interface):
                return varlink.describe(interface)
            case varlink.GetStatus():
                return varlink.GetStatusReply(self._status())
            case varlink.Notify(account):
                return self._notify(account, peer)
        raise InternalError(f"no answer to {type(method).__name__}")

    def _notify(self, account: str, peer: LocalPeer) -> varlink.NotifyReply:
        if account not in self._hub:
            raise varlink.unknown_account(account)
        self._log(Level.INFO, "rung_by_hand", peer, account=account)
        self._hub.ring(account, MANUAL, trio.current_time(), time.time_ns() // 1000)
        return varlink.NotifyReply(self._hub.cursor)

    async def _stream(
        self, peer: LocalPeer, method: varlink.Subscribe, scope: trio.CancelScope
    ) -> None:
        """Serve a subscription to its end: returns only by `Hangup` or `ServiceError`."""
        subscriber = self._subscribe(method, peer)
        # A subscriber keeps its place: only those who have nothing to say give way.
        self._guests.pop(scope, None)
        self._log(Level.INFO, "subscribed", peer)
        try:
            await peer.stream(subscriber)
        finally:
            self._hub.unsubscribe(subscriber)
            self._log(Level.INFO, "unsubscribed", peer)

    def _subscribe(self, method: varlink.Subscribe, peer: LocalPeer) -> Subscriber:
        for account in method.accounts:
            if account not in self._hub:
                raise varlink.unknown_account(account)
        if self._hub.subscribers >= self._max_subscribers:
            self._counters.count_local(LocalEvent.REFUSED_SUBSCRIBER)
            raise varlink.too_many_subscribers(self._max_subscribers)
        return self._hub.subscribe(method.accounts or None, method.after, peer.wake)

    def _log(self, level: Level, event: str, peer: LocalPeer, **fields: object) -> None:
        who = peer.credentials
        self._journal.log(level, event, pid=who.pid, uid=who.uid, gid=who.gid, **fields)
