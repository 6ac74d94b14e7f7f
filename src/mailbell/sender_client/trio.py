"""The client for Trio programs. Its calls are those of the blocking client, awaited.

    client = Client()
    await client.ring("anna@example.org")

    async with await client.watch() as watching:
        async for ring in watching:
            print(ring.account, ring.outcome)

Every call may be cancelled.
"""

from collections.abc import AsyncIterator
from types import TracebackType
from typing import Self

import trio

from mailbell.calling.exchange import FOREVER
from mailbell.calling.explain import explain_silence
from mailbell.calling.trio import Caller, Channel
from mailbell.core.errors import TemporaryError, UnavailableError
from mailbell.interfaces.sender import (
    Explain,
    ExplainReply,
    GetStatus,
    GetStatusReply,
    Ring,
    RingReply,
    RingResult,
    Seen,
    SeenReply,
)
from mailbell.interfaces.sender_status import Status
from mailbell.sender_client._place import default_path
from mailbell.sender_client._sender import SENDER_DAEMON
from mailbell.sender_client._watcher import Watcher

__all__ = ["Client", "Watching"]


class Watching(AsyncIterator[RingResult]):
    """Gives each ring as it ends. `Client.watch` makes it.

    Iteration waits without a limit; `next` has a time-out. When the sender goes away, it
    raises: what was rung meanwhile cannot be known. Only one task may use it at a time.
    """

    def __init__(self, channel: Channel, watcher: Watcher) -> None:
        self._channel = channel
        self._watcher = watcher
        self._closed = False

    @property
    def missed(self) -> int:
        """How many rings were not told so far, because the caller read slowly."""
        return self._watcher.missed

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    async def __anext__(self) -> RingResult:
        if self._closed:
            raise StopAsyncIteration
        return await self.next()

    async def next(self, timeout: float | None = None) -> RingResult:
        """Wait for the next ring.

        Args:
            timeout: seconds; None: wait without a limit.

        Returns:
            The ring.

        Raises:
            TemporaryError: no ring came in time. The next call may succeed.
            MailbellError: the other errors of the blocking client's `next`.
        """
        deadline = FOREVER if timeout is None else trio.current_time() + timeout
        with trio.move_on_at(deadline):
            await trio.lowlevel.checkpoint()
            while not self._closed:
                if not self._watcher.ready:
                    self._watcher.receive_untrusted(await self._channel.receive())
                elif (ring := self._watcher.take_untrusted()) is not None:
                    return ring
            raise UnavailableError("the watching is closed")
        raise TemporaryError("no ring came in time")

    def close(self) -> None:
        """End it. Closing it again does nothing."""
        self._closed = True
        self._channel.close()


class Client(Caller):
    """Talks to mailbell-sender on this machine.

    Each call has a connection of its own. A new `Client` does not connect before the first.

    Args:
        path: the path of the control socket. None: $MAILBELL_SENDER_SOCKET, else
            /run/mailbell-sender/control.
        timeout: how long to wait for the answer to a call, in seconds. It is also an attribute.
        daemon_user: a user whose sender is trusted, beside root's and that of this process's
            user: a name or a number. None: $MAILBELL_SENDER_USER, or else `mailbell-sender`.
    """

    def __init__(
        self, path: str | None = None, *, timeout: float = 10.0, daemon_user: str | None = None
    ) -> None:
        super().__init__(
            SENDER_DAEMON,
            (default_path() if path is None else path,),
            timeout=timeout,
            daemon_user=daemon_user,
        )

    async def ring(self, account: str) -> None:
        """Say that an account has new mail. Each of its targets is rung, at once or soon.

        Args:
            account: the name of the account, or an alias.

        Raises:
            MailbellError: the errors of the blocking client's `ring`.
        """
        await self._call(Ring(account), RingReply)

    async def seen(self, account: str, address: str) -> None:
        """Say that an account's owner has looked for mail, and from where.

        Args:
            account: the name of the account, or an alias.
            address: the numeric address of the mail program.

        Raises:
            MailbellError: the errors of the blocking client's `seen`.
        """
        await self._call(Seen(account, address), SeenReply)

    async def explain(self, account: str) -> ExplainReply:
        """Ask what a notification for an account would do now. Nothing is sent.

        Args:
            account: the name of the account, or an alias.

        Returns:
            The account's name, and its targets one by one.

        Raises:
            MailbellError: the errors of the blocking client's `explain`.
        """
        return await self._call(Explain(account), ExplainReply)

    async def status(self) -> Status:
        """Ask for the status of the sender.

        Returns:
            Its counters, targets, limits and the state of its sandbox.

        Raises:
            MailbellError: the errors of the blocking client's `status`.
        """
        return (await self._call(GetStatus(), GetStatusReply)).status

    async def watch(self, account: str | None = None) -> Watching:
        """Watch the rings from now on. When this returns, the sender has accepted.

        Args:
            account: the rings of this account only; None: of all accounts.

        Returns:
            What gives the rings.

        Raises:
            MailbellError: the errors of the blocking client's `watch`.
        """
        watcher = Watcher(account)
        deadline = trio.current_time() + self.timeout
        channel = await self._open(deadline)
        try:
            with trio.fail_at(deadline):
                await channel.send(watcher.call)
                while not watcher.ready:
                    watcher.receive_untrusted(await channel.receive())
            watcher.take_untrusted()
        except trio.TooSlowError:
            channel.close()
            raise explain_silence(self.timeout, SENDER_DAEMON) from None
        except BaseException:
            channel.close()
            raise
        return Watching(channel, watcher)
