"""Answers the calls on mailbelld's local socket: `org.mailbell.Listener`."""

import socket
from collections.abc import Callable
from typing import Final

import trio

from mailbell._sys.sockets import PeerCredentials
from mailbell.interfaces.listener import (
    LISTENER_SERVICE,
    GetStatus,
    GetStatusReply,
    Notify,
    NotifyReply,
    Status,
    Subscribe,
    SubscribeReply,
    too_fast,
    too_many_subscribers,
    unknown_account,
)
from mailbell.interfaces.local_event import LocalEvent
from mailbell.listener._counters import Counters
from mailbell.listener._hub import MANUAL, Hub
from mailbell.listener._wakeups import Subscriber
from mailbell.logs.journal import Journal, Level
from mailbell.serving.varlink_server import Handlers, VarlinkServer

__all__ = ["LocalService", "local_connections"]

SPARE: Final = 32  # connections beside the subscribers: for `status`, `notify` and others


def local_connections(subscribers: int) -> int:
    """Return how many connections the local socket holds at most.

    Args:
        subscribers: how many subscriptions there may be at once.
    """
    return subscribers + SPARE


class LocalService:
    """Answers the calls of `org.mailbell.Listener`.

    Args:
        hub: the hub that the clients subscribe to.
        counters: counts the events here.
        journal: logs the events here.
        status: returns the answer to `GetStatus`.
        stamp: returns the time as a stamp, which the hub keeps.
        subscribers: how many subscriptions there may be at once.
    """

    def __init__(
        self,
        hub: Hub,
        counters: Counters,
        journal: Journal,
        *,
        status: Callable[[], Status],
        stamp: Callable[[], int],
        subscribers: int,
    ) -> None:
        self._hub = hub
        self._counters = counters
        self._journal = journal
        self._status = status
        self._stamp = stamp
        self._max_subscribers = subscribers

    def server(self, sock: socket.socket) -> VarlinkServer:
        """Make the server of the local socket.

        Args:
            sock: the listening socket, non-blocking.

        Returns:
            The server, not yet started.
        """
        return VarlinkServer(
            sock,
            LISTENER_SERVICE,
            Handlers(
                replies={GetStatus: self._get_status, Notify: self._notify},
                streams={Subscribe: self._subscribe},
            ),
            count=self._counters.count_local,
            journal=self._journal,
            connections=local_connections(self._max_subscribers),
            too_fast=too_fast(),
        )

    def _get_status(self, _: GetStatus, __: PeerCredentials) -> GetStatusReply:
        return GetStatusReply(self._status())

    def _notify(self, request: Notify, caller: PeerCredentials) -> NotifyReply:
        self._require_account(request.account)
        self._log("rung_by_hand", caller, account=request.account)
        self._hub.ring(request.account, MANUAL, trio.current_time(), self._stamp())
        return NotifyReply(self._hub.cursor)

    def _subscribe(
        self, request: Subscribe, caller: PeerCredentials, wake: Callable[[], None]
    ) -> "_Subscription":
        for account in request.accounts:
            self._require_account(account)
        if self._hub.subscribers >= self._max_subscribers:
            self._counters.count_local(LocalEvent.REFUSED_SUBSCRIBER)
            raise too_many_subscribers(self._max_subscribers)
        subscriber = self._hub.subscribe(request.accounts or None, request.after, wake)
        self._log("subscribed", caller)
        return _Subscription(subscriber, lambda: self._unsubscribe(subscriber, caller))

    def _unsubscribe(self, subscriber: Subscriber, caller: PeerCredentials) -> None:
        self._hub.unsubscribe(subscriber)
        self._log("unsubscribed", caller)

    def _require_account(self, account: str) -> None:
        if account not in self._hub:
            raise unknown_account(account)

    def _log(self, event: str, caller: PeerCredentials, **fields: object) -> None:
        who = {"pid": caller.pid, "uid": caller.uid, "gid": caller.gid}
        self._journal.log(Level.INFO, event, **who, **fields)


class _Subscription:
    """The replies to `Subscribe`: everything that the subscriber has not got yet."""

    def __init__(self, subscriber: Subscriber, end: Callable[[], None]) -> None:
        self._subscriber = subscriber
        self.close = end

    @property
    def waiting(self) -> bool:
        """Whether there is something to send."""
        return self._subscriber.waiting

    def next_reply(self) -> SubscribeReply:
        """Return what is new. The first reply may have the cursor only."""
        notification = self._subscriber.take()
        return SubscribeReply(self._subscriber.cursor, notification)
