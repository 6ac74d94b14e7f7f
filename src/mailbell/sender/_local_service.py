"""Answers the calls on mailbell-sender's control socket: `org.mailbell.Sender`."""

import socket
from collections.abc import Callable
from typing import Final, Protocol

from mailbell._sys.sockets import PeerCredentials
from mailbell.core.sender_outcome import InputOutcome
from mailbell.interfaces.local_event import LocalEvent
from mailbell.interfaces.sender import (
    SENDER_SERVICE,
    Explain,
    ExplainReply,
    GetStatus,
    GetStatusReply,
    Ring,
    RingReply,
    Seen,
    SeenReply,
    Step,
    Watch,
    WatchReply,
    not_accepted,
    too_fast,
    too_many_watchers,
    unknown_account,
)
from mailbell.interfaces.sender_status import Status
from mailbell.logs.journal import Journal, Level
from mailbell.sender._watchers import Watcher, Watchers
from mailbell.serving.varlink_server import Handlers, VarlinkServer

__all__ = ["CONTROL_CONNECTIONS", "USER_RATE", "WATCHERS", "Desk", "LocalService"]

WATCHERS: Final = 16
"""How many callers of `Watch` there may be at once."""

CONTROL_CONNECTIONS: Final = WATCHERS + 32
"""How many connections the control socket holds at most: the watchers, and others."""

USER_RATE: Final = 2000.0
"""Connections and calls a second that all programs of one user may make. A mail server that
embeds the client connects and calls once for each delivery."""


class Desk(Protocol):
    """What the calls ask of the sender."""

    def find(self, account: str) -> str | None:
        """Return the name that the sender knows an account by; None: it does not."""

    def ring(self, account: str, uid: int) -> InputOutcome:
        """Take a notification from a user, and count its outcome."""

    def seen(self, account: str, address: str, uid: int) -> InputOutcome:
        """Take a login from a user, and count its outcome."""

    def explain(self, account: str) -> tuple[Step, ...]:
        """Tell what a notification would do. The account is named as `find` has it."""

    def status(self) -> Status:
        """Return the answer to `GetStatus`."""


class LocalService:
    """Answers the calls of `org.mailbell.Sender`.

    Args:
        desk: what the calls ask.
        watchers: the callers of `Watch`, which are told of each ring.
        journal: logs the events here.
        count: called with each event at this socket.
    """

    def __init__(
        self,
        desk: Desk,
        watchers: Watchers,
        journal: Journal,
        *,
        count: Callable[[LocalEvent], None],
    ) -> None:
        self._desk = desk
        self._watchers = watchers
        self._journal = journal
        self._count = count

    def server(self, sock: socket.socket) -> VarlinkServer:
        """Make the server of the control socket.

        Args:
            sock: the listening socket, non-blocking.

        Returns:
            The server, not yet started.
        """
        return VarlinkServer(
            sock,
            SENDER_SERVICE,
            Handlers(
                replies={
                    Ring: self._ring,
                    Seen: self._seen,
                    Explain: self._explain,
                    GetStatus: self._get_status,
                },
                streams={Watch: self._watch},
            ),
            count=self._count,
            journal=self._journal,
            connections=CONTROL_CONNECTIONS,
            too_fast=too_fast(),
            user_rate=USER_RATE,
        )

    def _get_status(self, _: GetStatus, __: PeerCredentials) -> GetStatusReply:
        return GetStatusReply(self._desk.status())

    def _ring(self, request: Ring, caller: PeerCredentials) -> RingReply:
        _require_accepted(self._desk.ring(request.account, caller.uid), request.account)
        return RingReply()

    def _seen(self, request: Seen, caller: PeerCredentials) -> SeenReply:
        outcome = self._desk.seen(request.account, request.address, caller.uid)
        _require_accepted(outcome, request.account)
        return SeenReply()

    def _explain(self, request: Explain, _: PeerCredentials) -> ExplainReply:
        name = self._known(request.account)
        return ExplainReply(name, self._desk.explain(name))

    def _watch(
        self, request: Watch, caller: PeerCredentials, wake: Callable[[], None]
    ) -> "_Watching":
        account = None if request.account is None else self._known(request.account)
        if self._watchers.is_full:
            self._count(LocalEvent.REFUSED_SUBSCRIBER)
            raise too_many_watchers(self._watchers.limit)
        watcher = Watcher(account, wake)
        self._watchers.add(watcher)
        self._log("watching", caller)
        return _Watching(watcher, lambda: self._unwatch(watcher, caller))

    def _unwatch(self, watcher: Watcher, caller: PeerCredentials) -> None:
        self._watchers.remove(watcher)
        self._log("unwatched", caller)

    def _known(self, account: str) -> str:
        name = self._desk.find(account)
        if name is None:
            raise unknown_account(account)
        return name

    def _log(self, event: str, caller: PeerCredentials) -> None:
        who = {"pid": caller.pid, "uid": caller.uid, "gid": caller.gid}
        self._journal.log(Level.INFO, event, **who)


def _require_accepted(outcome: InputOutcome, account: str) -> None:
    if outcome is InputOutcome.UNKNOWN_ACCOUNT:
        raise unknown_account(account)
    if outcome is not InputOutcome.ACCEPTED:
        raise not_accepted(outcome)


class _Watching:
    """The replies to `Watch`: every ring that the watcher has not been told of."""

    def __init__(self, watcher: Watcher, end: Callable[[], None]) -> None:
        self._watcher = watcher
        self.close = end

    @property
    def waiting(self) -> bool:
        """Whether there is something to send."""
        return self._watcher.waiting

    def next_reply(self) -> WatchReply:
        """Return the next ring. The first reply has none."""
        return self._watcher.take()
