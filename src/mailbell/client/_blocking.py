"""The client for ordinary programs: the standard library's sockets, no threads.

Every wait has a deadline, or none by the caller's choice. Signals are the
language's affair (PEP 475): a handler that raises, as Ctrl-C does, ends the
wait at once and leaves the subscription as it was.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from types import TracebackType
from typing import Self, TypeVar

from mailbell.client._channel import Channel, Timing
from mailbell.client._connect import connect
from mailbell.client._conversation import (
    FOREVER,
    Exchange,
    Follower,
    Retry,
    State,
    encode_call_checked,
)
from mailbell.client._explain import explain_silence
from mailbell.client._path import Located
from mailbell.core.errors import MailbellError, TemporaryError, UnavailableError
from mailbell.core.notification import Cursor, Notification
from mailbell.interfaces.listener import GetStatus, GetStatusReply, Notify, NotifyReply, Status
from mailbell.varlink import Request

__all__ = ["Client", "Subscription"]

_T = TypeVar("_T")
_REAL = Timing()


class Subscription(Iterator[Notification]):
    """Notifications as they come. Made by `Client.subscribe`.

    Iterating waits for ever; `next` has a time-out. Not for several threads at once.
    """

    def __init__(self, client: "Client", follower: Follower, *, timing: Timing) -> None:
        self._client = client
        self._follower = follower
        self._timing = timing
        self._channel: Channel | None = None
        self._closed = False

    @property
    def cursor(self) -> Cursor | None:
        """Everything up to here was handed over; another program may continue `after` it."""
        return self._follower.cursor

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __next__(self) -> Notification:
        if self._closed:
            raise StopIteration
        return self.next()

    def next(self, timeout: float | None = None) -> Notification:
        """Wait for the next notification, across restarts of the daemon.

        Args:
            timeout: seconds; None: for ever; 0: only what is there.

        Returns:
            The notification.

        Raises:
            TemporaryError: nothing came in time. The subscription goes on.
            UnavailableError: the daemon is gone and `reconnect` is false, or the
                subscription is closed.
            UsageError: the daemon came back without one of the accounts.
            DataError: what answers is not mailbelld.
        """
        deadline = FOREVER if timeout is None else self._timing.monotonic() + timeout
        while not self._closed:
            self._pause(deadline)
            notification = self._step(deadline)
            if notification is not None:
                return notification
            if self._timing.monotonic() >= deadline:
                # A daemon that never stops answering, and says nothing.
                raise TemporaryError("no notification came in time")
        raise UnavailableError("the subscription is closed")

    def close(self) -> None:
        """End the subscription. Closing it again does nothing."""
        self._closed = True
        self._disconnect()
        self._client._forget(self)  # noqa: SLF001  two halves of one public object

    def _start(self) -> None:
        """Wait until the daemon has agreed, or a failure is final."""
        try:
            while not self._follower.established:
                self._pause(FOREVER)
                self._step(FOREVER)
        except BaseException:
            self.close()
            raise

    def _pause(self, deadline: float) -> None:
        """Wait for the next attempt to connect, if there is one to wait for."""
        if self._channel is not None:
            return
        now = self._timing.monotonic()
        if (left := min(self._follower.retry_at, deadline) - now) > 0:
            self._timing.sleep(left)
        if deadline < self._follower.retry_at:
            raise TemporaryError("no notification came in time, the daemon is away")

    def _step(self, deadline: float) -> Notification | None:
        """Do one thing: connect, read, or hand over."""
        try:
            if self._channel is None:
                self._connect()
            return self._advance(min(deadline, self._follower.patience))
        except TimeoutError:
            if deadline < self._follower.patience:
                raise TemporaryError("no notification came in time") from None
            self._lose(explain_silence(self._client.timeout))
        except MailbellError as error:
            self._lose(error)
        return None

    def _connect(self) -> None:
        now = self._timing.monotonic()
        channel = self._client._open()  # noqa: SLF001  two halves of one public object
        try:
            channel.send(self._follower.connect(now), now + self._client.timeout)
        except BaseException:
            channel.close()
            raise
        self._channel = channel

    def _advance(self, deadline: float) -> Notification | None:
        if not self._follower.ready:
            if self._channel is not None:
                self._follower.receive_untrusted(self._channel.receive(deadline))
        elif not self._follower.established:
            self._follower.establish_untrusted()
        else:
            return self._follower.take_untrusted()
        return None

    def _lose(self, error: MailbellError) -> None:
        self._disconnect()
        try:
            self._follower.lost(error, self._timing.monotonic())
        except MailbellError:
            self.close()
            raise

    def _disconnect(self) -> None:
        if self._channel is not None:
            self._channel.close()
            self._channel = None


class Client(Located):
    """Talks to the daemon on this machine.

    Each call has a connection of its own, and so has each subscription; making
    a `Client` connects to nothing yet.

    Args:
        path: of the local socket; None: every one of `places` is tried each time that
            this connects, so that a daemon is found wherever it comes up.
        timeout: for the daemon's answer to a call, in seconds.
        timing: where the time comes from.

    Attributes:
        timeout: for the daemon's answer to a call, in seconds.
    """

    def __init__(
        self, path: str | None = None, *, timeout: float = 10.0, timing: Timing = _REAL
    ) -> None:
        super().__init__(path)
        self.timeout = timeout
        self._timing = timing
        self._subscriptions: set[Subscription] = set()

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
        """End every subscription of this client."""
        for subscription in tuple(self._subscriptions):
            subscription.close()

    def status(self) -> Status:
        """Ask how the daemon is.

        Returns:
            Its counters, limits and the state of its sandbox.

        Raises:
            UnavailableError: there is no daemon.
            TemporaryError: it did not answer in time.
            PrivilegeError: this process may not connect to it.
            DataError: what answers is not mailbelld.
        """
        return self._call(GetStatus(), GetStatusReply).status

    def notify(self, account: str) -> Cursor:
        """Ring by hand: every subscriber of the account is told to look.

        Args:
            account: name of the account.

        Returns:
            Where the history stands after the ringing.

        Raises:
            UsageError: there is no such account.
            UnavailableError: there is no daemon.
            TemporaryError: it did not answer in time.
            PrivilegeError: this process may not connect to it.
            DataError: what answers is not mailbelld.
        """
        return self._call(Notify(account), NotifyReply).cursor

    def subscribe(
        self,
        accounts: Sequence[str] = (),
        *,
        after: Cursor | None = None,
        reconnect: bool = True,
        on_state: Callable[[State], None] | None = None,
        retry: Retry | None = None,
    ) -> Subscription:
        """Ask to be told, from now on. When this returns, the daemon has agreed.

        Args:
            accounts: names of the accounts; empty: all.
            after: the cursor of an earlier subscription; what was missed since
                then comes first, as a resync. None: nothing is missed.
            reconnect: whether to try again, for ever, when the daemon goes away
                later: after 0.1 s, then ever longer, at last every 10 s.
            on_state: called when the daemon is lost and found again, and once
                before this returns.
            retry: asked after each failure, also of the first connection, whether to
                try again; None: as `reconnect` says.

        Returns:
            The subscription.

        Raises:
            UnavailableError: there is no daemon, whatever `reconnect` says; `retry` may
                decide otherwise, here and for each error below.
            UsageError: the daemon does not have one of the accounts.
            TemporaryError: it has no room for a subscriber, or did not answer in time.
            PrivilegeError: this process may not connect to it.
            DataError: what answers is not mailbelld.
        """
        follower = Follower(
            accounts, after, self.timeout, on_state, reconnect=reconnect, retry=retry
        )
        subscription = Subscription(self, follower, timing=self._timing)
        self._subscriptions.add(subscription)
        subscription._start()  # noqa: SLF001  two halves of one public object
        return subscription

    def _call(self, request: Request, kind: type[_T]) -> _T:
        message = encode_call_checked(request)
        deadline = self._timing.monotonic() + self.timeout
        exchange = Exchange()
        with closing(self._open()) as channel:
            try:
                channel.send(message, deadline)
                while not exchange.ready:
                    exchange.receive_untrusted(channel.receive(deadline))
            except TimeoutError:
                raise explain_silence(self.timeout) from None
        return exchange.take_untrusted(kind)[0]

    def _open(self) -> Channel:
        connected, self._found = connect(self.places)
        return Channel(connected, self._timing.monotonic)

    def _forget(self, subscription: Subscription) -> None:
        self._subscriptions.discard(subscription)
