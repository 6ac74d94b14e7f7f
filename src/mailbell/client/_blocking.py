"""The client for ordinary programs: sockets of the standard library, and no threads.

Every wait has a deadline, unless the caller asks for none. Python handles the signals
(PEP 475): a signal handler that raises, as for Ctrl-C, ends the wait at once. The
subscription stays as it was.
"""

from collections.abc import Callable, Iterator, Sequence
from types import TracebackType
from typing import Self

from mailbell.calling.blocking import Caller
from mailbell.calling.channel import Channel, Timing
from mailbell.calling.exchange import FOREVER
from mailbell.calling.explain import explain_silence
from mailbell.client._conversation import Follower, Retry, State
from mailbell.client._mailbelld import MAILBELLD
from mailbell.client._path import default_places
from mailbell.core.errors import MailbellError, TemporaryError, UnavailableError
from mailbell.core.notification import Cursor, Notification
from mailbell.interfaces.listener import GetStatus, GetStatusReply, Notify, NotifyReply, Status

__all__ = ["Client", "Subscription"]

_REAL = Timing()


class Subscription(Iterator[Notification]):
    """Gives notifications as they come. `Client.subscribe` makes it.

    Iteration waits without a limit; `next` has a time-out. Only one thread may use it at
    a time.
    """

    def __init__(self, client: "Client", follower: Follower, *, timing: Timing) -> None:
        self._client = client
        self._follower = follower
        self._timing = timing
        self._channel: Channel | None = None
        self._closed = False

    @property
    def cursor(self) -> Cursor | None:
        """The place of the last notification that was given to the caller.

        A later subscription may continue `after` it.
        """
        return self._follower.cursor

    @property
    def failure(self) -> MailbellError | None:
        """The error that ended the last connection or attempt; None while connected."""
        return self._follower.failure

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
        """Wait for the next notification, also while the daemon restarts.

        Args:
            timeout: seconds; None: wait without a limit; 0: do not wait.

        Returns:
            The notification.

        Raises:
            TemporaryError: no notification came in time. The subscription stays open.
            UnavailableError: the connection was lost and `reconnect` is false, or the
                subscription is closed.
            UsageError: the daemon came back without one of the accounts.
            DataError: the program that answers is not mailbelld, and `reconnect` is false.
        """
        deadline = FOREVER if timeout is None else self._timing.monotonic() + timeout
        while not self._closed:
            self._pause(deadline)
            notification = self._step(deadline)
            if notification is not None:
                return notification
            if self._timing.monotonic() >= deadline:
                # The daemon sends replies all the time, and none has a notification.
                raise TemporaryError("no notification came in time")
        raise UnavailableError("the subscription is closed")

    def close(self) -> None:
        """End the subscription. Closing it again does nothing."""
        self._closed = True
        self._disconnect()
        self._client._forget(self)  # noqa: SLF001  two halves of one public object

    def _start(self) -> None:
        """Wait until the daemon has accepted the subscription.

        Raises:
            MailbellError: a failure after which no other attempt is made.
        """
        try:
            while not self._follower.established:
                self._pause(FOREVER)
                self._step(FOREVER)
        except BaseException:
            self.close()
            raise

    def _pause(self, deadline: float) -> None:
        """Wait until the next attempt to connect is due, if there is no connection."""
        if self._channel is not None:
            return
        now = self._timing.monotonic()
        if (left := min(self._follower.retry_at, deadline) - now) > 0:
            self._timing.sleep(left)
        if deadline < self._follower.retry_at:
            raise TemporaryError("no notification came in time, because the daemon is away")

    def _step(self, deadline: float) -> Notification | None:
        """Do one thing: connect, read, or return a notification."""
        try:
            if self._channel is None:
                self._connect(deadline)
            return self._advance(min(deadline, self._follower.patience))
        except TimeoutError:
            if deadline < self._follower.patience:
                raise TemporaryError("no notification came in time") from None
            self._lose(explain_silence(self._client.timeout, MAILBELLD))
        except MailbellError as error:
            self._lose(error)
        return None

    def _connect(self, deadline: float) -> None:
        now = self._timing.monotonic()
        deadline = min(deadline, now + self._client.timeout)
        channel = self._client._open(deadline)  # noqa: SLF001  two halves of one public object
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
            self._follower.note_loss(error, self._timing.monotonic())
        except MailbellError:
            self.close()
            raise

    def _disconnect(self) -> None:
        if self._channel is not None:
            self._channel.close()
            self._channel = None


class Client(Caller):
    """Talks to the daemon on this machine.

    Each call and each subscription has a connection of its own. A new `Client` does not
    connect to the daemon before the first of them.

    Args:
        path: the path of the local socket. None: the client tries all of `places` each
            time that it connects, and so finds the daemon at any of them.
        timeout: how long to wait for the daemon's answer to a call, in seconds.
        timing: the clock.
        daemon_user: a user whose daemon is trusted, beside root's and that of this process's
            user: a name or a number. None: $MAILBELL_DAEMON_USER, or else `mailbell`.

    Attributes:
        timeout: how long to wait for the daemon's answer to a call, in seconds.
    """

    def __init__(
        self,
        path: str | None = None,
        *,
        timeout: float = 10.0,
        timing: Timing = _REAL,
        daemon_user: str | None = None,
    ) -> None:
        super().__init__(
            MAILBELLD,
            default_places() if path is None else (path,),
            timeout=timeout,
            timing=timing,
            daemon_user=daemon_user,
        )
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
        """Ask for the status of the daemon.

        Returns:
            The daemon's counters, its limits and the state of its sandbox.

        Raises:
            UnavailableError: no daemon runs.
            TemporaryError: the daemon did not answer in time.
            PrivilegeError: this process may not connect to the daemon, or another user's
                process answers.
            DataError: the program that answers is not mailbelld.
        """
        return self._call(GetStatus(), GetStatusReply).status

    def notify(self, account: str) -> Cursor:
        """Ring by hand: the daemon tells every subscriber of the account to look for mail.

        Args:
            account: the name of the account.

        Returns:
            The daemon's cursor after the notification.

        Raises:
            UsageError: the daemon has no such account.
            UnavailableError: no daemon runs.
            TemporaryError: the daemon did not answer in time.
            PrivilegeError: this process may not connect to the daemon, or another user's
                process answers.
            DataError: the program that answers is not mailbelld.
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
        on_unknown: Callable[[str], None] | None = None,
    ) -> Subscription:
        """Subscribe to notifications. When this returns, the daemon has accepted.

        Args:
            accounts: the names of the accounts; empty: all accounts.
            after: the cursor of an earlier subscription. If notifications came since
                then, the subscription first gives them as a resync. None: begin now.
            reconnect: whether to connect again, without a limit, when the connection is
                lost later: after 0.1 s, then after longer times, at most 10 s.
            on_state: called when the connection is lost and when it is there again, and
                once before this returns.
            retry: called with the error after each failure, also that of the first
                connection; returns whether to try again. None: `reconnect` decides.
            on_unknown: called with each account that the daemon does not have, while it has
                another one. The subscription goes on with those that the daemon has, and asks
                for all again when it connects again. None: an unknown account is an error.

        Returns:
            The subscription.

        Raises:
            UnavailableError: no daemon runs. `reconnect` does not change this. `retry` may
                ask for another attempt instead of this error and of each error below.
            UsageError: the daemon does not have one of the accounts.
            TemporaryError: the daemon has no room for a subscriber, or did not answer in
                time.
            PrivilegeError: this process may not connect to the daemon, or another user's
                process answers.
            DataError: the program that answers is not mailbelld.
        """
        follower = Follower(
            accounts,
            after,
            self.timeout,
            on_state,
            reconnect=reconnect,
            retry=retry,
            on_unknown=on_unknown,
        )
        subscription = Subscription(self, follower, timing=self._timing)
        self._subscriptions.add(subscription)
        subscription._start()  # noqa: SLF001  two halves of one public object
        return subscription

    def _forget(self, subscription: Subscription) -> None:
        self._subscriptions.discard(subscription)
