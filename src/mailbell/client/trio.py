"""The client for Trio programs. Its calls are those of the blocking client, awaited.

    async with Client() as client:
        subscription = await client.subscribe(["work"])
        async for notification in subscription:
            await fetch(notification.account)

Every call may be cancelled. A notification that the caller did not get is not lost, and
the subscription continues where it was.
"""

from collections.abc import AsyncIterator, Callable, Sequence
from types import TracebackType
from typing import Self

import trio

from mailbell.calling.exchange import FOREVER
from mailbell.calling.explain import explain_silence
from mailbell.calling.trio import Caller, Channel
from mailbell.client._conversation import RETRIED, Follower, Retry, State
from mailbell.client._mailbelld import MAILBELLD
from mailbell.client._path import default_places
from mailbell.core.errors import MailbellError, TemporaryError, UnavailableError
from mailbell.core.notification import Cursor, Notification
from mailbell.interfaces.listener import GetStatus, GetStatusReply, Notify, NotifyReply, Status

__all__ = ["RETRIED", "Client", "Subscription"]


class Subscription(AsyncIterator[Notification]):
    """Gives notifications as they come. `Client.subscribe` makes it.

    Iteration waits without a limit; `next` has a time-out. Only one task may use it at a
    time.
    """

    def __init__(self, client: "Client", follower: Follower) -> None:
        self._client = client
        self._follower = follower
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

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    async def __anext__(self) -> Notification:
        if self._closed:
            raise StopAsyncIteration
        return await self.next()

    async def next(self, timeout: float | None = None) -> Notification:
        """Wait for the next notification, also while the daemon restarts.

        Args:
            timeout: seconds; None: wait without a limit.

        Returns:
            The notification.

        Raises:
            TemporaryError: no notification came in time. The subscription stays open.
            MailbellError: the other errors of the blocking client's `next`.
        """
        deadline = FOREVER if timeout is None else trio.current_time() + timeout
        with trio.move_on_at(deadline):
            await trio.lowlevel.checkpoint()
            while not self._closed:
                notification = await self._step()
                if notification is not None:
                    return notification
            raise UnavailableError("the subscription is closed")
        raise TemporaryError("no notification came in time")

    def close(self) -> None:
        """End the subscription. Closing it again does nothing."""
        self._closed = True
        self._disconnect()
        self._client._forget(self)  # noqa: SLF001  two halves of one public object

    async def _start(self) -> None:
        """Wait until the daemon has accepted the subscription.

        Raises:
            MailbellError: a failure after which no other attempt is made.
        """
        try:
            while not self._follower.established:
                await self._step()
        except BaseException:
            self.close()
            raise

    async def _step(self) -> Notification | None:
        """Do one thing: connect, read, or return a notification."""
        try:
            return await self._advance()
        except trio.TooSlowError:
            self._lose(explain_silence(self._client.timeout, MAILBELLD))
        except MailbellError as error:
            self._lose(error)
        return None

    async def _advance(self) -> Notification | None:
        if self._channel is None:
            await trio.sleep_until(max(self._follower.retry_at, trio.current_time()))
            self._channel = await self._connect()
        elif not self._follower.ready:
            with trio.fail_at(self._follower.patience):
                data = await self._channel.receive()
            self._follower.receive_untrusted(data)
        elif not self._follower.established:
            self._follower.establish_untrusted()
        else:
            return self._follower.take_untrusted()
        return None

    async def _connect(self) -> Channel:
        now = trio.current_time()
        channel = await self._client._open(now + self._client.timeout)  # noqa: SLF001  two halves of one public object
        try:
            with trio.fail_at(now + self._client.timeout):
                await channel.send(self._follower.connect(now))
        except BaseException:
            channel.close()
            raise
        return channel

    def _lose(self, error: MailbellError) -> None:
        self._disconnect()
        try:
            self._follower.note_loss(error, trio.current_time())
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
        timeout: how long to wait for the daemon's answer to a call, in seconds. It is
            also an attribute.
        daemon_user: a user whose daemon is trusted, beside root's and that of this process's
            user: a name or a number. None: $MAILBELL_DAEMON_USER, or else `mailbell`.
    """

    def __init__(
        self, path: str | None = None, *, timeout: float = 10.0, daemon_user: str | None = None
    ) -> None:
        super().__init__(
            MAILBELLD,
            default_places() if path is None else (path,),
            timeout=timeout,
            daemon_user=daemon_user,
        )
        self._subscriptions: set[Subscription] = set()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
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

    async def status(self) -> Status:
        """Ask for the status of the daemon.

        Returns:
            The daemon's counters, its limits and the state of its sandbox.

        Raises:
            MailbellError: the errors of the blocking client's `status`.
        """
        return (await self._call(GetStatus(), GetStatusReply)).status

    async def notify(self, account: str) -> Cursor:
        """Ring by hand: the daemon tells every subscriber of the account to look for mail.

        Args:
            account: the name of the account.

        Returns:
            The daemon's cursor after the notification.

        Raises:
            MailbellError: the errors of the blocking client's `notify`.
        """
        return (await self._call(Notify(account), NotifyReply)).cursor

    async def subscribe(
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
            after: the cursor of an earlier subscription; None: begin now.
            reconnect: whether to connect again, without a limit, when the connection is
                lost later.
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
            MailbellError: the errors of the blocking client's `subscribe`.
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
        subscription = Subscription(self, follower)
        self._subscriptions.add(subscription)
        await subscription._start()  # noqa: SLF001  two halves of one public object
        return subscription

    def _forget(self, subscription: Subscription) -> None:
        self._subscriptions.discard(subscription)
