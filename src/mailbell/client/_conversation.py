"""Everything that the blocking and the Trio client share. Only the waiting differs.

Sans-IO: bytes and the time come in as arguments; bytes and errors go out.
"""

from collections.abc import Callable, Sequence
from enum import StrEnum

from mailbell.calling.exchange import FOREVER, Exchange, encode_call_checked
from mailbell.calling.explain import explain_end
from mailbell.client._mailbelld import MAILBELLD, UnknownAccountError
from mailbell.core.errors import (
    DataError,
    MailbellError,
    PrivilegeError,
    TemporaryError,
    UnavailableError,
    UsageError,
)
from mailbell.core.notification import Cursor, Notification
from mailbell.interfaces.listener import Subscribe, SubscribeReply
from mailbell.interfaces.reply import MAX_EPOCH, STREAM_LIMIT, is_cursor

__all__ = [
    "RETRIED",
    "Backoff",
    "Follower",
    "Retry",
    "State",
]

RETRIED = (UnavailableError, TemporaryError, PrivilegeError)
"""Errors after which a subscription connects again. PrivilegeError is one of them,
because a daemon that starts binds its socket before it sets the socket's group."""

# The longest cursor that a daemon may give. A call with it must not be too long either.
_LONGEST_CURSOR = Cursor("x" * MAX_EPOCH, (1 << 63) - 1)

Retry = Callable[[MailbellError], bool]
"""Called with the error after each failure of a subscription; returns whether to try again."""


class State(StrEnum):
    """The state of a subscription, which `on_state` is called with."""

    CONNECTED = "connected"  # the daemon has answered; notifications will come
    LOST = "lost"  # the connection ended; with `reconnect` the client connects again


class Backoff:
    """Computes the wait before the next attempt: 0.1 s, then twice as long each time, up to 10 s.

    After a connection that lasted as long as the longest wait, the next wait is 0.1 s
    again. A shorter connection does not count: a daemon that accepts and then dies would
    make the client connect in a busy loop.
    """

    SHORTEST = 0.1
    LONGEST = 10.0

    def __init__(self) -> None:
        self._next = self.SHORTEST

    def next_delay(self, lived: float) -> float:
        """Compute the wait after a connection that ended or could not be made.

        Args:
            lived: how long the connection lasted, in seconds; 0 if it could not be made.

        Returns:
            Seconds to wait.
        """
        if lived >= self.LONGEST:
            self._next = self.SHORTEST
        delay, self._next = self._next, min(self._next * 2, self.LONGEST)
        return delay


class Follower:
    """The state of a subscription. It lasts longer than each of its connections.

    Only this class decides whether a failure ends a subscription, and when the next
    attempt is made. The caller does the input and output: it connects at `retry_at`,
    gives up at `patience`, and reports every error to `note_loss`.

    Args:
        accounts: the names of the accounts; empty: all accounts.
        after: the cursor to continue from.
        timeout: how long to wait for the first answer on a connection, in seconds.
        on_state: called when the connection is lost and when it is there again.
        reconnect: whether to connect again after a connection that had succeeded.
        retry: decides after every failure; None: `reconnect` decides.
        on_unknown: called with each account that the daemon does not have, while it has
            another one of `accounts`. The subscription then is for those that it has, and
            asks for all of them again on the next connection. None: such an account is an
            error, as it always is if the daemon has none of `accounts`.

    Attributes:
        cursor: the place of the last notification that was given to the caller.
        established: whether the daemon has answered on the present connection.
        retry_at: when to connect again, on the caller's clock in seconds; 0: at once.
        failure: the error that ended the last connection or attempt; None: connected, or
            there was no attempt yet.
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
        on_unknown: Callable[[str], None] | None = None,
    ) -> None:
        if isinstance(accounts, str):
            raise TypeError("accounts: a sequence of names, not one name")
        self._accounts = tuple(accounts)
        # The daemon refuses a call that is too long. Another attempt cannot help. No cursor
        # that a daemon gives later may make the call too long.
        encode_call_checked(Subscribe(self._accounts, _LONGEST_CURSOR), MAILBELLD)
        if after is not None and not is_cursor(after):
            raise UsageError("`after` is no cursor of mailbelld", "leave it out")
        self._timeout = timeout
        self._on_state = on_state
        self._reconnect = reconnect
        self._retry = retry
        self._on_unknown = on_unknown
        self._unknown: set[str] = set()  # the accounts that are left out of the next call
        self._found = False
        self._backoff = Backoff()
        self._exchange = Exchange(MAILBELLD, STREAM_LIMIT)
        self._held: SubscribeReply | None = None
        self._since: float | None = None
        self.cursor = after
        self.established = False
        self.retry_at = 0.0
        self.failure: MailbellError | None = None

    def connect(self, now: float) -> bytes:
        """Begin a new connection.

        Args:
            now: the monotonic clock, in seconds.

        Returns:
            The call to send on the connection.

        Raises:
            UsageError: the daemon would refuse the call.
        """
        self._since = now
        asked = tuple(name for name in self._accounts if name not in self._unknown)
        return encode_call_checked(Subscribe(asked, self.cursor), MAILBELLD)

    @property
    def patience(self) -> float:
        """The time at which to give up if the daemon has not answered, in seconds."""
        if self._since is None or self.established:
            return FOREVER
        return self._since + self._timeout

    @property
    def ready(self) -> bool:
        """Whether an answer or an error can be taken."""
        return self._held is not None or self._exchange.ready

    def receive_untrusted(self, data: bytes) -> None:
        """Take the bytes that were read.

        Args:
            data: the bytes; empty when the daemon closed the connection.

        Raises:
            UnavailableError: the connection ended.
        """
        self._exchange.receive_untrusted(data)

    def establish_untrusted(self) -> None:
        """Take the first answer on a connection. Call it only when `ready`.

        A notification in this answer is kept for `take_untrusted`.

        Raises:
            MailbellError: the daemon sent an error, bytes that are not a reply, or the end
                of the subscription.
        """
        answer = self._read_untrusted()
        self.established = self._found = True
        self._exchange.accepted = self._accounts
        self.failure = None
        if answer.notification is None:
            self.cursor = answer.cursor
        else:
            self._held = answer
        self._tell(State.CONNECTED)

    def take_untrusted(self) -> Notification | None:
        """Return the next notification. Call it only when `ready` and `established`.

        Returns:
            The notification; None for an answer without a notification.

        Raises:
            MailbellError: the daemon sent an error, bytes that are not a reply, or the end
                of the subscription.
        """
        answer = self._held or self._read_untrusted()
        self._held = None
        # The cursor moves when the caller gets a notification, and not when it arrives.
        # So a program that ends before it gets one is told of it after its restart.
        self.cursor = answer.cursor
        return answer.notification

    def note_loss(self, error: MailbellError, now: float) -> None:
        """Note that the connection ended or could not be made.

        Args:
            error: the reason.
            now: the monotonic clock, in seconds.

        Raises:
            MailbellError: the same error, if no other attempt must be made.
        """
        self.failure = error
        was_established = self.established
        if self._leave_out(error):
            self.retry_at = now
        else:
            self._unknown.clear()  # the next daemon may have them
            if not self._goes_on(error):
                raise error
            lived = 0.0 if self._since is None else now - self._since
            self.retry_at = now + self._backoff.next_delay(lived)
        self.established, self._since, self._held = False, None, None
        accepted = self._accounts if self._found else None
        self._exchange = Exchange(MAILBELLD, STREAM_LIMIT, accepted=accepted)
        if was_established:
            self._tell(State.LOST)

    def _leave_out(self, error: MailbellError) -> bool:
        """Leave an account out of the next call if the daemon may have another one."""
        if self._on_unknown is None or not isinstance(error, UnknownAccountError):
            return False
        asked = {*self._accounts} - self._unknown
        name = error.account
        # A daemon that names another account, or one that it has accepted, is broken.
        if self.established or not isinstance(name, str) or name not in asked or len(asked) == 1:
            return False
        self._unknown.add(name)
        self._on_unknown(name)
        return True

    def _goes_on(self, error: MailbellError) -> bool:
        if self._retry is not None:
            return self._retry(error)
        # DataError: the next daemon is not to blame for what another program sent.
        return self._reconnect and self._found and isinstance(error, (*RETRIED, DataError))

    def _read_untrusted(self) -> SubscribeReply:
        answer, reply = self._exchange.take_untrusted(SubscribeReply)
        if not reply.continues:
            raise explain_end(MAILBELLD)
        return answer

    def _tell(self, state: State) -> None:
        if self._on_state is not None:
            self._on_state(state)
