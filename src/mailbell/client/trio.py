"""The client for Trio programs: the same calls, awaited.

    async with Client() as client:
        subscription = await client.subscribe(["work"])
        async for notification in subscription:
            await fetch(notification.account)

Cancelling any of it is safe: what was not handed over is not lost, and the
subscription goes on where it was.
"""

import socket
from collections.abc import AsyncIterator, Callable, Sequence
from types import TracebackType
from typing import Self, TypeVar

import trio

from mailbell.client._connect import connect
from mailbell.client._conversation import (
    FOREVER,
    READ_SIZE,
    RETRIED,
    Exchange,
    Follower,
    Retry,
    State,
    encode_call_checked,
)
from mailbell.client._explain import explain_silence, gone
from mailbell.client._path import Located
from mailbell.core.errors import MailbellError, TemporaryError, UnavailableError
from mailbell.core.notification import Cursor, Notification
from mailbell.interfaces.listener import GetStatus, GetStatusReply, Notify, NotifyReply, Status
from mailbell.varlink import Request

__all__ = ["RETRIED", "Client", "Subscription"]

_T = TypeVar("_T")


class _Channel:
    """A connected socket."""

    def __init__(self, connected: socket.socket) -> None:
        self._socket = trio.socket.from_stdlib_socket(connected)

    async def send(self, data: bytes) -> None:
        try:
            while data:
                sent = await self._socket.send(data, socket.MSG_NOSIGNAL)
                data = data[sent:]
        except OSError:
            raise gone() from None

    async def receive(self) -> bytes:
        """Wait for bytes; none at the end of the stream, however it came about."""
        try:
            return await self._socket.recv(READ_SIZE)
        except OSError:
            return b""

    def close(self) -> None:
        self._socket.close()


class Subscription(AsyncIterator[Notification]):
    """Notifications as they come. Made by `Client.subscribe`.

    Iterating waits for ever; `next` has a time-out. For one task at a time.
    """

    def __init__(self, client: "Client", follower: Follower) -> None:
        self._client = client
        self._follower = follower
        self._channel: _Channel | None = None
        self._closed = False

    @property
    def cursor(self) -> Cursor | None:
        """Everything up to here was handed over; another program may continue `after` it."""
        return self._follower.cursor

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
        """Wait for the next notification, across restarts of the daemon.

        Args:
            timeout: seconds; None: for ever.

        Returns:
            The notification.

        Raises:
            TemporaryError: nothing came in time. The subscription goes on.
            MailbellError: otherwise, as the blocking client does.
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
        """Wait until the daemon has agreed, or a failure is final."""
        try:
            while not self._follower.established:
                await self._step()
        except BaseException:
            self.close()
            raise

    async def _step(self) -> Notification | None:
        """Do one thing: connect, read, or hand over."""
        try:
            return await self._advance()
        except trio.TooSlowError:
            self._lose(explain_silence(self._client.timeout))
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

    async def _connect(self) -> _Channel:
        now = trio.current_time()
        channel = await self._client._open()  # noqa: SLF001  two halves of one public object
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
            self._follower.lost(error, trio.current_time())
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
        timeout: for the daemon's answer to a call, in seconds. Kept as an attribute.
    """

    def __init__(self, path: str | None = None, *, timeout: float = 10.0) -> None:
        super().__init__(path)
        self.timeout = timeout
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
        """Ask how the daemon is.

        Returns:
            Its counters, limits and the state of its sandbox.

        Raises:
            MailbellError: as the blocking client does.
        """
        return (await self._call(GetStatus(), GetStatusReply)).status

    async def notify(self, account: str) -> Cursor:
        """Ring by hand: every subscriber of the account is told to look.

        Args:
            account: name of the account.

        Returns:
            Where the history stands after the ringing.

        Raises:
            MailbellError: as the blocking client does.
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
    ) -> Subscription:
        """Ask to be told, from now on. When this returns, the daemon has agreed.

        Args:
            accounts: names of the accounts; empty: all.
            after: the cursor of an earlier subscription; None: nothing is missed.
            reconnect: whether to try again, for ever, when the daemon goes away later.
            on_state: called when the daemon is found, lost and found again.
            retry: asked after each failure, also of the first connection, whether to
                try again; None: as `reconnect` says.

        Returns:
            The subscription.

        Raises:
            MailbellError: as the blocking client does.
        """
        follower = Follower(
            accounts, after, self.timeout, on_state, reconnect=reconnect, retry=retry
        )
        subscription = Subscription(self, follower)
        self._subscriptions.add(subscription)
        await subscription._start()  # noqa: SLF001  two halves of one public object
        return subscription

    async def _call(self, request: Request, kind: type[_T]) -> _T:
        message = encode_call_checked(request)
        exchange = Exchange()
        channel = await self._open()
        try:
            with trio.fail_after(self.timeout):
                await channel.send(message)
                while not exchange.ready:
                    exchange.receive_untrusted(await channel.receive())
        except trio.TooSlowError:
            raise explain_silence(self.timeout) from None
        finally:
            channel.close()
        return exchange.take_untrusted(kind)[0]

    async def _open(self) -> _Channel:
        await trio.lowlevel.checkpoint()
        connected, self._found = connect(self.places)
        return _Channel(connected)

    def _forget(self, subscription: Subscription) -> None:
        self._subscriptions.discard(subscription)
