"""The hub keeps the latest state of each account, and what each subscriber must still get.

A notification is idempotent ("look for mail"), so the hub keeps state and no queues. If a
subscriber is slow, its notifications are merged into one entry for each account. No other
part of the daemon waits for a subscriber. Pure: times are arguments, and a subscriber is
woken through a plain function.

Each wake-up, of any account, gets the next number of one sequence. The cursor of a
subscriber is the number up to which the subscriber has got everything. If some entries
are not taken yet, the cursor is just below the oldest of them. So a subscriber that
disconnects half-way misses nothing when it comes back.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from heapq import heappop, heappush

import msgspec

from mailbell.core.coalesce import Coalescer
from mailbell.core.networks import Family, format_address
from mailbell.core.notification import Cause, Cursor, Notification, Transport

__all__ = ["MANUAL", "AccountState", "Hub", "Origin", "Subscriber"]

NOTHING_SEEN = -1
# Sources remembered for each account. An account has fewer mail servers than this.
CALLERS = 8


class Origin(msgspec.Struct, frozen=True, gc=False):
    """The origin of a notification. As text it is the source's address.

    Attributes:
        cause: network or manual.
        transport: how it arrived; None: a local program sent it by `Notify`.
        family: the family of the source; None: a local program sent it by `Notify`.
        source: the address of the source, as a number.
    """

    cause: Cause
    transport: Transport | None = None
    family: Family | None = None
    source: int = 0

    def __str__(self) -> str:
        return "" if self.family is None else format_address(self.family, self.source)


MANUAL = Origin(Cause.MANUAL)


class AccountState:
    """The state of one account. Its size is bounded, whatever arrives.

    Attributes:
        name: the account's name.
        sequence: the number of its last wake-up; 0: there was none.
        count: how many notifications all its wake-ups stood for.
        time: the stamp of the last notification; None: there was none.
    """

    __slots__ = (
        "callers",
        "coalescer",
        "count",
        "name",
        "origin",
        "remembered",
        "sequence",
        "time",
    )

    def __init__(self, name: str, interval: float) -> None:
        self.name = name
        self.coalescer = Coalescer(interval)
        # The last CALLERS sources that have notified, as a ring buffer. The family is not
        # stored: the IPv6 address with the same number as an IPv4 address is in ::/96,
        # which is not used.
        self.callers: list[int] = []
        self.remembered = 0  # how many sources were ever put into `callers`
        self.sequence = 0
        self.count = 0
        self.time: int | None = None
        self.origin = MANUAL


@dataclass(slots=True)
class _Untold:
    """The wake-ups of one account that one subscriber must still get, merged into one."""

    first: int  # the number of the oldest wake-up in it
    notification: Notification


class Subscriber:
    """One subscription. It takes what is new, merged, whenever it is ready.

    `Hub.subscribe` makes it.
    """

    __slots__ = ("_accounts", "_hub", "_missed", "_since", "_untold", "_wake")

    def __init__(
        self, hub: "Hub", accounts: frozenset[str] | None, wake: Callable[[], None]
    ) -> None:
        self._hub = hub
        self._accounts = accounts
        self._wake = wake
        self._untold: dict[str, _Untold] = {}
        # The accounts with wake-ups that the subscriber missed before it subscribed. Only
        # the accounts are kept, because there may be thousands for each subscriber. Each
        # becomes a notification when the subscriber takes it.
        self._missed: list[AccountState] = []
        self._since = NOTHING_SEEN

    @property
    def cursor(self) -> Cursor:
        """The subscriber has taken everything up to this cursor."""
        if self._missed:
            return Cursor(self._hub.epoch, self._since)
        for oldest in self._untold.values():
            return Cursor(self._hub.epoch, oldest.first - 1)
        return Cursor(self._hub.epoch, self._hub.sequence)

    @property
    def waiting(self) -> bool:
        """Whether there is something to take."""
        return bool(self._missed or self._untold)

    def wants(self, account: str) -> bool:
        """Return whether this subscription covers the account."""
        return self._accounts is None or account in self._accounts

    def offer(self, sequence: int, notification: Notification) -> None:
        """Note a wake-up, merged with those of the account that were not taken yet.

        Args:
            sequence: the wake-up's number, higher than any before.
            notification: the notification to pass on.
        """
        untold = self._untold.get(notification.account)
        if untold is None:
            self._untold[notification.account] = _Untold(sequence, notification)
        else:
            untold.notification = _merged(untold.notification, notification)
        self._wake()

    def catch_up(self, missed: list[AccountState], since: int) -> None:
        """Note what the subscriber missed before the subscription began.

        Args:
            missed: the accounts, the one with the oldest wake-up first.
            since: the last number that the subscriber has seen. Its cursor stays there
                until it has taken all these accounts.
        """
        self._missed = missed[::-1]
        self._since = since

    def take(self) -> Notification | None:
        """Return the oldest entry, with all that was merged into it; None: all is taken."""
        if self._missed:
            return self._take_missed(self._missed.pop())
        for account in self._untold:
            return self._untold.pop(account).notification
        return None

    def _take_missed(self, state: AccountState) -> Notification:
        resync = self._hub.resync(state)
        untold = self._untold.pop(state.name, None)
        if untold is None:
            return resync
        # The resync says that something was missed. The later wake-ups are merged into it.
        return replace(resync, count=untold.notification.count)


def _merged(older: Notification, newer: Notification) -> Notification:
    return Notification(
        account=newer.account,
        cause=newer.cause,
        count=older.count + newer.count,
        transport=newer.transport,
        source=newer.source,
        time=newer.time,
    )


def _remember(state: AccountState, caller: int) -> None:
    if len(state.callers) < CALLERS:
        state.callers.append(caller)
    else:
        state.callers[state.remembered % CALLERS] = caller
    state.remembered += 1


class Hub:
    """The state of every account, and all subscribers.

    A stamp is microseconds of a clock that never jumps.

    Args:
        accounts: the names of all accounts. The set never changes.
        interval: seconds; each account has at most one wake-up in this time.
        epoch: the name of this run of the daemon, different from every other run's.
        started: when this run began, as a stamp.
        time_of: turns a stamp into microseconds since 1970.
        on_due: called when `next_due` may have become earlier.
        on_wakeup: called with each wake-up, for the log.
    """

    def __init__(
        self,
        accounts: Iterable[str],
        *,
        interval: float,
        epoch: str,
        started: int,
        time_of: Callable[[int], int] = lambda stamp: stamp,
        on_due: Callable[[], None] = lambda: None,
        on_wakeup: Callable[[Notification], None] = lambda _: None,
    ) -> None:
        self.epoch = epoch
        self.sequence = 0
        self._started = started
        self._time_of = time_of
        self._on_due = on_due
        self._on_wakeup = on_wakeup
        self._states = {name: AccountState(name, interval) for name in accounts}
        self._subscribers: dict[Subscriber, None] = {}
        # Accounts that wait for a trailing wake-up, as a heap by time. If the wake-up
        # happens earlier, its entry stays until its time and then does nothing. Two
        # entries of one account are an interval apart, so the heap stays small.
        self._due: list[tuple[float, str]] = []

    @property
    def cursor(self) -> Cursor:
        """The end of the history: everything up to now."""
        return Cursor(self.epoch, self.sequence)

    @property
    def accounts(self) -> Iterable[AccountState]:
        """The state of every account, in the order of their declaration."""
        return self._states.values()

    @property
    def subscribers(self) -> int:
        """How many subscriptions there are."""
        return len(self._subscribers)

    def __contains__(self, account: object) -> bool:
        return account in self._states

    def ring(self, account: str, origin: Origin, now: float, time: int) -> None:
        """Take one notification. It is passed on at once, or with the next wake-up.

        Args:
            account: an account of this hub.
            origin: the origin of the notification.
            now: monotonic clock, in seconds.
            time: when it arrived, as a stamp.

        Raises:
            KeyError: there is no such account.
        """
        state = self._states[account]
        if origin.source not in state.callers:
            _remember(state, origin.source)
        self._ring(state, origin, now, time)

    def ring_unread(self, account: str, origin: Origin, now: float, time: int) -> None:
        """Take a connection that a limit forbade to read, if its source has notified before.

        Without this the last notification of a busy server would be lost, because it
        arrives when the server has used up its tokens. All such connections between two
        wake-ups count as one notification, and the interval bounds what they cause.

        Args:
            account: an account of this hub.
            origin: the origin of the connection.
            now: monotonic clock, in seconds.
            time: when it arrived, as a stamp.

        Raises:
            KeyError: there is no such account.
        """
        state = self._states[account]
        if origin.source in state.callers and not state.coalescer.held_back:
            self._ring(state, origin, now, time)

    def _ring(self, state: AccountState, origin: Origin, now: float, time: int) -> None:
        state.origin, state.time = origin, time
        count = state.coalescer.ring(now)
        if count:
            self._wake_up(state, count)
        elif state.coalescer.held_back == 1:  # the first one since the last wake-up
            heappush(self._due, (state.coalescer.next, state.name))
            self._on_due()

    @property
    def next_due(self) -> float | None:
        """When `tick` must run next: monotonic clock, in seconds; None: no wake-up waits."""
        return self._due[0][0] if self._due else None

    def tick(self, now: float) -> None:
        """Deliver every trailing wake-up that is due.

        Args:
            now: monotonic clock, in seconds.
        """
        while self._due and self._due[0][0] <= now:
            state = self._states[heappop(self._due)[1]]
            count = state.coalescer.tick(now)
            if count:
                self._wake_up(state, count)

    def subscribe(
        self, accounts: Iterable[str] | None, after: Cursor | None, wake: Callable[[], None]
    ) -> Subscriber:
        """Add a subscriber. What it has missed since `after` waits for it at once.

        Args:
            accounts: the accounts that it wants; None: all.
            after: the last cursor that it saw; None: it gets only what happens from now on.
            wake: called whenever there is something to take. It must not block.

        Returns:
            The subscriber. `Hub.unsubscribe` ends it.
        """
        wanted = None if accounts is None else frozenset(accounts)
        subscriber = Subscriber(self, wanted, wake)
        if after is not None:
            # A cursor of another run, or one that this run has not reached, does not say
            # what the subscriber has seen. So everything counts as missed.
            known = after.epoch == self.epoch and after.sequence <= self.sequence
            since = after.sequence if known else NOTHING_SEEN
            subscriber.catch_up(self._missed(subscriber, since), since)
        self._subscribers[subscriber] = None
        return subscriber

    def unsubscribe(self, subscriber: Subscriber) -> None:
        """End a subscription. It is no error if it has ended already."""
        self._subscribers.pop(subscriber, None)

    def resync(self, state: AccountState) -> Notification:
        """Return the notification for a subscriber that has missed wake-ups of an account."""
        stamp = self._started if state.time is None else state.time
        return Notification(state.name, Cause.RESYNC, 0, None, None, self._time_of(stamp))

    def _missed(self, subscriber: Subscriber, since: int) -> list[AccountState]:
        """Return the subscriber's accounts with wake-ups after a number, the oldest first."""
        return sorted(
            (
                state
                for state in self._states.values()
                if state.sequence > since and subscriber.wants(state.name)
            ),
            key=lambda state: state.sequence,
        )

    def _wake_up(self, state: AccountState, count: int) -> None:
        self.sequence += 1
        state.sequence = self.sequence
        state.count += count
        notification = Notification(
            account=state.name,
            cause=state.origin.cause,
            count=count,
            transport=state.origin.transport,
            source=str(state.origin) or None,
            time=self._time_of(state.time or 0),
        )
        self._on_wakeup(notification)
        for subscriber in self._subscribers:
            if subscriber.wants(state.name):
                subscriber.offer(self.sequence, notification)
