"""What the blocking and the Trio client share: everything but the waiting.

Sans-IO: bytes and the time come in as arguments, bytes and errors go out.
"""

from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import TypeVar

from mailbell.client._explain import explain_reply, garbage, gone
from mailbell.core.errors import (
    MailbellError,
    PrivilegeError,
    TemporaryError,
    UnavailableError,
    UsageError,
)
from mailbell.core.notification import Cursor, Notification
from mailbell.interfaces.listener import LISTENER_INTERFACE, Subscribe, SubscribeReply
from mailbell.varlink import CALL_LIMIT, Conversation, ProtocolError, Reply, Request, ServiceError

__all__ = [
    "FOREVER",
    "MAX_EPOCH",
    "READ_SIZE",
    "RETRIED",
    "Backoff",
    "Exchange",
    "Follower",
    "Retry",
    "State",
    "encode_call_checked",
]

READ_SIZE = 65536
"""Most bytes read at once."""

RETRIED = (UnavailableError, TemporaryError, PrivilegeError)
"""What a reconnecting subscription takes for a daemon that is away. PrivilegeError
belongs here: a daemon that starts binds its socket before it sets the group."""

FOREVER = float("inf")
"""A deadline that never comes."""

MAX_EPOCH = 256
"""Characters of a cursor's epoch, so that it fits into a call; mailbelld's has 16."""

Retry = Callable[[MailbellError], bool]
"""Asked after each failure of a subscription whether to try again."""

_T = TypeVar("_T")


class State(StrEnum):
    """What `on_state` is told about a subscription."""

    CONNECTED = "connected"  # the daemon has answered; notifications will come
    LOST = "lost"  # the daemon is away; a reconnecting subscription tries again


def encode_call_checked(request: Request) -> bytes:
    """Write a call, if the daemon would take it.

    Args:
        request: what to ask for.

    Returns:
        The bytes to send.

    Raises:
        UsageError: it is too long, or holds what is no text.
    """
    try:
        message = LISTENER_INTERFACE.encode(request)
    except UnicodeEncodeError:
        # A name from the command line that was not UTF-8 (PEP 383).
        raise UsageError("the name of an account is not valid UTF-8") from None
    if len(message) > CALL_LIMIT + 1:
        what = f"a call of more than {CALL_LIMIT} bytes"
        raise UsageError(what, "name fewer accounts; none means all of them")
    return message


class Exchange:
    """One connection to the daemon: bytes in, replies out, and what went wrong in words."""

    def __init__(self) -> None:
        self._conversation = Conversation()

    def receive_untrusted(self, data: bytes) -> None:
        """Take what was read.

        Args:
            data: the bytes; empty when the daemon closed the connection.

        Raises:
            UnavailableError: the connection ended.
        """
        if not data:
            raise gone()
        self._conversation.receive_untrusted(data)

    @property
    def ready(self) -> bool:
        """Whether `take_untrusted` has something to give, or to raise."""
        return self._conversation.ready

    def take_untrusted(self, kind: type[_T]) -> tuple[_T, Reply]:
        """Read the next reply; only when `ready`.

        Args:
            kind: the type of its parameters.

        Returns:
            The parameters, and the reply they were in.

        Raises:
            MailbellError: an error reply, or garbage.
        """
        try:
            return self._conversation.take_untrusted(kind)
        except ServiceError as error:
            raise explain_reply(error) from None
        except ProtocolError as error:
            raise garbage(error) from None


class Backoff:
    """How long to wait before the next attempt: 0.1 s, doubling up to 10 s.

    A connection that lived as long as the longest wait was a good one, and the
    count starts anew. (Starting anew with every connection would turn a daemon
    that accepts and dies into a busy loop.)
    """

    SHORTEST = 0.1
    LONGEST = 10.0

    def __init__(self) -> None:
        self._next = self.SHORTEST

    def lost(self, lived: float) -> float:
        """Count a connection that ended or never was.

        Args:
            lived: how long it was there, in seconds; 0 when it never was.

        Returns:
            Seconds to wait.
        """
        if lived >= self.LONGEST:
            self._next = self.SHORTEST
        delay, self._next = self._next, min(self._next * 2, self.LONGEST)
        return delay


class Follower:
    """A subscription, whatever carries its bytes; outlives its connections.

    The one place that decides whether a failure ends a subscription, and when the next
    attempt is made. A caller connects at `retry_at`, gives up at `patience`, and
    hands every error to `lost`.

    Args:
        accounts: names of the accounts; empty: all.
        after: cursor to continue from.
        timeout: for the first answer on a connection, in seconds.
        on_state: told when the daemon is lost and found.
        reconnect: whether a daemon that was found once is waited for when it is away.
        retry: decides instead, for every failure.

    Attributes:
        cursor: everything up to here was handed over.
        established: whether the daemon has answered on the present connection.
        retry_at: when to connect again, on the caller's clock; 0: at once.
    """

    def __init__(
        self,
        accounts: Sequence[str],
        after: Cursor | None,
        timeout: float,
        on_state: Callable[[State], None] | None,
        *,
        reconnect: bool = True,
        retry: Retry | None = None,
    ) -> None:
        if isinstance(accounts, str):
            raise TypeError("accounts: a sequence of names, not one name")
        self._accounts = tuple(accounts)
        # A call that the daemon would not take is the caller's mistake: said at once, not retried.
        encode_call_checked(Subscribe(self._accounts, after))
        self._timeout = timeout
        self._on_state = on_state
        self._reconnect = reconnect
        self._retry = retry
        self._found = False
        self._backoff = Backoff()
        self._exchange = Exchange()
        self._held: SubscribeReply | None = None
        self._since: float | None = None
        self.cursor = after
        self.established = False
        self.retry_at = 0.0

    def connect(self, now: float) -> bytes:
        """Begin with a new connection.

        Args:
            now: monotonic clock, in seconds.

        Returns:
            The call to send on it.

        Raises:
            UsageError: the daemon would not take such a call.
        """
        self._since = now
        return encode_call_checked(Subscribe(self._accounts, self.cursor))

    @property
    def patience(self) -> float:
        """When a connection that has not answered is given up, on the caller's clock."""
        if self._since is None or self.established:
            return FOREVER
        return self._since + self._timeout

    @property
    def ready(self) -> bool:
        """Whether there is an answer, or a fault, to look at."""
        return self._held is not None or self._exchange.ready

    def receive_untrusted(self, data: bytes) -> None:
        """Take what was read.

        Args:
            data: the bytes; empty when the daemon closed the connection.

        Raises:
            UnavailableError: the connection ended.
        """
        self._exchange.receive_untrusted(data)

    def establish_untrusted(self) -> None:
        """Read the first answer of a connection, when `ready`; hand nothing over.

        Raises:
            MailbellError: an error reply, garbage, or the end of the subscription.
        """
        answer = self._read_untrusted()
        self.established = self._found = True
        if answer.notification is None:
            self.cursor = answer.cursor
        else:
            self._held = answer
        self._tell(State.CONNECTED)

    def take_untrusted(self) -> Notification | None:
        """Hand over the next notification, when `ready` and `established`.

        Returns:
            The notification; None for an answer without one.

        Raises:
            MailbellError: an error reply, garbage, or the end of the subscription.
        """
        answer = self._held or self._read_untrusted()
        self._held = None
        # The cursor moves when a notification is handed over, not when it was
        # received: what a dying program did not get is told to its successor.
        self.cursor = answer.cursor
        return answer.notification

    def lost(self, error: MailbellError, now: float) -> None:
        """Note that the connection ended, or could not be made.

        Args:
            error: why.
            now: monotonic clock, in seconds.

        Raises:
            MailbellError: the same error, when no other attempt is to be made.
        """
        if not self._goes_on(error):
            raise error
        was_established = self.established
        lived = 0.0 if self._since is None else now - self._since
        self.retry_at = now + self._backoff.lost(lived)
        self.established, self._since, self._held = False, None, None
        self._exchange = Exchange()
        if was_established:
            self._tell(State.LOST)

    def _goes_on(self, error: MailbellError) -> bool:
        if self._retry is not None:
            return self._retry(error)
        return self._reconnect and self._found and isinstance(error, RETRIED)

    def _read_untrusted(self) -> SubscribeReply:
        answer, reply = self._exchange.take_untrusted(SubscribeReply)
        if len(answer.cursor.epoch) > MAX_EPOCH:
            raise garbage(ProtocolError("a cursor that is too long"))
        if not reply.continues:
            raise gone()
        return answer

    def _tell(self, state: State) -> None:
        if self._on_state is not None:
            self._on_state(state)
