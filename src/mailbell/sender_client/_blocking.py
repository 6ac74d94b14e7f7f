"""The client for ordinary programs: sockets of the standard library, and no threads."""

from collections.abc import Iterator
from types import TracebackType
from typing import Self

from mailbell.calling.blocking import Caller
from mailbell.calling.channel import Channel, Timing
from mailbell.calling.exchange import FOREVER
from mailbell.calling.explain import explain_silence
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

_REAL = Timing()


class Watching(Iterator[RingResult]):
    """Gives each ring as it ends. `Client.watch` makes it.

    Iteration waits without a limit; `next` has a time-out. When the sender goes away, it
    raises: what was rung meanwhile cannot be known. Only one thread may use it at a time.
    """

    def __init__(self, channel: Channel, watcher: Watcher, timing: Timing) -> None:
        self._channel = channel
        self._watcher = watcher
        self._timing = timing
        self._closed = False

    @property
    def missed(self) -> int:
        """How many rings were not told so far, because the caller read slowly."""
        return self._watcher.missed

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __next__(self) -> RingResult:
        if self._closed:
            raise StopIteration
        return self.next()

    def next(self, timeout: float | None = None) -> RingResult:
        """Wait for the next ring.

        Args:
            timeout: seconds; None: wait without a limit; 0: do not wait.

        Returns:
            The ring.

        Raises:
            TemporaryError: no ring came in time. The next call may succeed.
            UnavailableError: the sender went away, or this is closed.
            DataError: the program that answers is not mailbell-sender.
        """
        deadline = FOREVER if timeout is None else self._timing.monotonic() + timeout
        while not self._closed:
            if self._watcher.ready:
                if (ring := self._watcher.take_untrusted()) is not None:
                    return ring
                continue
            try:
                data = self._channel.receive(deadline)
            except TimeoutError:
                raise TemporaryError("no ring came in time") from None
            self._watcher.receive_untrusted(data)
        raise UnavailableError("the watching is closed")

    def close(self) -> None:
        """End it. Closing it again does nothing."""
        self._closed = True
        self._channel.close()


class Client(Caller):
    """Talks to mailbell-sender on this machine.

    Each call has a connection of its own. A new `Client` does not connect before the first.

    Args:
        path: the path of the control socket. None: `default_path()`.
        timeout: how long to wait for the answer to a call, in seconds.
        timing: the clock.
        daemon_user: a user whose sender is trusted, beside root's and that of this process's
            user: a name or a number. None: $MAILBELL_SENDER_USER, or else `mailbell-sender`.

    Attributes:
        timeout: how long to wait for the answer to a call, in seconds.
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
            SENDER_DAEMON,
            (default_path() if path is None else path,),
            timeout=timeout,
            timing=timing,
            daemon_user=daemon_user,
        )

    def ring(self, account: str) -> None:
        """Say that an account has new mail. Each of its targets is rung, at once or soon.

        Args:
            account: the name of the account, or an alias.

        Raises:
            UsageError: the sender has no such account, or the account is switched off.
            UnavailableError: no sender runs.
            TemporaryError: the sender did not answer in time, or takes no more for now.
            PrivilegeError: this process may not connect to the sender or speak for the account,
                or another user's process answers.
            DataError: the program that answers is not mailbell-sender.
        """
        self._call(Ring(account), RingReply)

    def seen(self, account: str, address: str) -> None:
        """Say that an account's owner has looked for mail, and from where.

        Args:
            account: the name of the account, or an alias.
            address: the numeric address of the mail program.

        Raises:
            UsageError: the sender has no such account, or never calls this address.
            MailbellError: the other errors of `ring`.
        """
        self._call(Seen(account, address), SeenReply)

    def explain(self, account: str) -> ExplainReply:
        """Ask what a notification for an account would do now. Nothing is sent.

        Args:
            account: the name of the account, or an alias.

        Returns:
            The account's name, and its targets one by one.

        Raises:
            MailbellError: the errors of `ring`.
        """
        return self._call(Explain(account), ExplainReply)

    def status(self) -> Status:
        """Ask for the status of the sender.

        Returns:
            Its counters, targets, limits and the state of its sandbox.

        Raises:
            MailbellError: the errors of `ring`, except those about an account.
        """
        return self._call(GetStatus(), GetStatusReply).status

    def watch(self, account: str | None = None) -> Watching:
        """Watch the rings from now on. When this returns, the sender has accepted.

        Args:
            account: the rings of this account only; None: of all accounts.

        Returns:
            What gives the rings.

        Raises:
            MailbellError: the errors of `ring`. TemporaryError also if the sender has no
                room for a watcher.
        """
        watcher = Watcher(account)
        deadline = self._timing.monotonic() + self.timeout
        channel = self._open(deadline)
        try:
            channel.send(watcher.call, deadline)
            while not watcher.ready:
                watcher.receive_untrusted(channel.receive(deadline))
            watcher.take_untrusted()
        except TimeoutError:
            channel.close()
            raise explain_silence(self.timeout, SENDER_DAEMON) from None
        except BaseException:
            channel.close()
            raise
        return Watching(channel, watcher, self._timing)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End the block. The client holds nothing; a `Watching` has its own end."""
