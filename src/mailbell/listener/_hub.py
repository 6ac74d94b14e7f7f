"""The hub: per account the latest state, per subscriber what it has not been told yet.

A notification is idempotent ("look for mail"), so state replaces queues: what
a slow subscriber has not taken is merged, one entry an account, and nothing
upstream ever waits for it. Pure: times are arguments, and a subscriber is
woken through a plain callable.

Every wake-up of any account takes the next number of one sequence. A
subscriber's cursor says: of everything up to this number I was told. With
entries still untaken it therefore stops just below the oldest of them, so that
a subscriber that goes away half-way misses nothing when it comes back.
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
# Sources remembered for each account: more mail servers than an account has.
CALLERS = 8


class Origin(msgspec.Struct, frozen=True, gc=False):
    """Where a notification came from. Its text is the source's address.

    Attributes:
        cause: network or manual.
        transport: None when it was rung by hand.
        family: of the source; None when it was rung by hand.
        source: the source's address as a number.
    """

    cause: Cause
    transport: Transport | None = None
    family: Family | None = None
    source: int = 0

    def __str__(self) -> str:
        return "" if self.family is None else format_address(self.family, self.source)


MANUAL = Origin(Cause.MANUAL)


class AccountState:
    """What is known of one account: constant size, whatever happens.

    Attributes:
        name: the account's name.
        sequence: number of its last wake-up; 0 when there was none.
        count: notifications its wake-ups stood for, in all.
        time: stamp of the last notification; None before the first.
    """

    __slots__ = ("callers", "coalescer", "count", "name", "origin", "rung", "sequence", "time")

    def __init__(self, name: str, interval: float) -> None:
        self.name = name
        self.coalescer = Coalescer(interval)
        # Who has rung, the last CALLERS of them, in a ring. Without their family: an IPv6
        # address that is some IPv4 address's number is no address that anybody has.
        self.callers: list[int] = []
        self.rung = 0
        self.sequence = 0
        self.count = 0
        self.time: int | None = None
        self.origin = MANUAL


@dataclass(slots=True)
class _Untold:
    """What one subscriber has yet to be told of one account."""

    first: int  # sequence of the oldest wake-up in it
    notification: Notification


class Subscriber:
    """One subscription: takes what is new, merged, when it can take it.

    Made by `Hub.subscribe`.
    """

    __slots__ = ("_accounts", "_hub", "_missed", "_since", "_untold", "_wake")

    def __init__(
        self, hub: "Hub", accounts: frozenset[str] | None, wake: Callable[[], None]
    ) -> None:
        self._hub = hub
        self._accounts = accounts
        self._wake = wake
        self._untold: dict[str, _Untold] = {}
        # What was missed before: the accounts alone, told one by one when the
        # peer can take it. There may be thousands, for each of many subscribers.
        self._missed: list[AccountState] = []
        self._since = NOTHING_SEEN

    @property
    def cursor(self) -> Cursor:
        """Everything up to here was taken."""
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
        """Tell whether this subscription covers the account."""
        return self._accounts is None or account in self._accounts

    def offer(self, sequence: int, notification: Notification) -> None:
        """Note a wake-up; it is merged with what was not taken yet.

        Args:
            sequence: the wake-up's number, higher than any before.
            notification: what to tell.
        """
        untold = self._untold.get(notification.account)
        if untold is None:
            self._untold[notification.account] = _Untold(sequence, notification)
        else:
            untold.notification = _merged(untold.notification, notification)
        self._wake()

    def catch_up(self, missed: list[AccountState], since: int) -> None:
        """Note what was missed before the subscription began.

        Args:
            missed: the accounts, the longest silent first.
            since: sequence that the subscriber has seen; its cursor stays there
                until it was told all of this.
        """
        self._missed = missed[::-1]
        self._since = since

    def take(self) -> Notification | None:
        """Return the account longest untold, with all that happened to it; None if all is told."""
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
        # That something was missed is the more important news, and includes this.
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
        state.callers[state.rung % CALLERS] = caller
    state.rung += 1


class Hub:
    """Every account's state, and everyone who wants to be told.

    Args:
        accounts: names of all accounts there are; the set never changes.
        interval: at most one wake-up an account in this many seconds.
        epoch: name of this run of the daemon, different from every other run's.
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
        # Accounts with a trailing wake-up to come. An entry whose wake-up was
        # delivered early stays until its time and then finds nothing to do;
        # dues of one account lie an interval apart, so this stays small.
        self._due: list[tuple[float, str]] = []

    @property
    def cursor(self) -> Cursor:
        """The present end of the history."""
        return Cursor(self.epoch, self.sequence)

    @property
    def accounts(self) -> Iterable[AccountState]:
        """Every account's state, in the order they were declared."""
        return self._states.values()

    @property
    def subscribers(self) -> int:
        """How many subscriptions there are."""
        return len(self._subscribers)

    def __contains__(self, account: object) -> bool:
        return account in self._states

    def ring(self, account: str, origin: Origin, now: float, time: int) -> None:
        """Take one notification: told at once, or with the next wake-up that is due.

        Args:
            account: an account of this hub.
            origin: where it came from.
            now: monotonic clock, in seconds.
            time: when, as a stamp: microseconds of a clock that never jumps.

        Raises:
            KeyError: there is no such account.
        """
        state = self._states[account]
        if origin.source not in state.callers:
            _remember(state, origin.source)
        self._ring(state, origin, now, time)

    def ring_unread(self, account: str, origin: Origin, now: float, time: int) -> None:
        """Take a call that a limit forbade to read, from somebody who has rung before.

        Else the last notification of a busy server would be lost: it comes when
        the server's tokens are used up. All such calls between two wake-ups
        count as one, and the interval bounds what they can cause.

        Args:
            account: an account of this hub.
            origin: who called.
            now: monotonic clock, in seconds.
            time: when, as a stamp: microseconds of a clock that never jumps.

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
        elif state.coalescer.held_back == 1:  # the first since the last wake-up
            heappush(self._due, (state.coalescer.next, state.name))
            self._on_due()

    @property
    def next_due(self) -> float | None:
        """When `tick` has something to do: monotonic clock, in seconds; None: not before a ring."""
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
        """Add a subscriber, which holds at once what it has missed since `after`.

        Args:
            accounts: the accounts it wants; None for all.
            after: the cursor it last saw; None: only what comes from now on.
            wake: called whenever there is something to take; must not block.

        Returns:
            The subscriber. `Hub.unsubscribe` ends it.
        """
        wanted = None if accounts is None else frozenset(accounts)
        subscriber = Subscriber(self, wanted, wake)
        if after is not None:
            # A cursor of another run, or one that this run has not reached,
            # proves nothing: everything counts as missed.
            known = after.epoch == self.epoch and after.sequence <= self.sequence
            since = after.sequence if known else NOTHING_SEEN
            subscriber.catch_up(self._missed(subscriber, since), since)
        self._subscribers[subscriber] = None
        return subscriber

    def unsubscribe(self, subscriber: Subscriber) -> None:
        """End a subscription; it is no error if it has ended already."""
        self._subscribers.pop(subscriber, None)

    def resync(self, state: AccountState) -> Notification:
        """Return what a subscriber is told of an account it has missed something of."""
        stamp = self._started if state.time is None else state.time
        return Notification(state.name, Cause.RESYNC, 0, None, None, self._time_of(stamp))

    def _missed(self, subscriber: Subscriber, since: int) -> list[AccountState]:
        """Return the subscriber's accounts that rang after a number, the longest silent first."""
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
