"""The hub takes the notifications of all accounts, and makes wake-ups of them.

A notification is idempotent ("look for mail"), so the hub keeps state and no queues: for
each account what was held back, and the last wake-up. `mailbell.listener._wakeups` has what
each subscriber must still get. No other part of the daemon waits for a subscriber. Pure:
times are arguments, and a subscriber is woken through a plain function.
"""

from collections.abc import Callable, Iterable
from heapq import heappop, heappush

import msgspec

from mailbell.core.coalesce import Coalescer
from mailbell.core.networks import Family, format_address
from mailbell.core.notification import Cause, Cursor, Notification, Transport
from mailbell.listener._wakeups import Subscriber, Wakeups

__all__ = ["MANUAL", "AccountState", "Hub", "Origin"]


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
        number: its place among all accounts.
        count: how many notifications all its wake-ups stood for.
        time: the stamp of the last notification; None: there was none.
    """

    __slots__ = (
        "coalescer",
        "count",
        "name",
        "number",
        "origin",
        "time",
    )

    def __init__(self, name: str, number: int, interval: float) -> None:
        self.name = name
        self.number = number
        self.coalescer = Coalescer(interval)
        self.count = 0
        self.time: int | None = None
        self.origin = MANUAL


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
        self._started = started
        self._time_of = time_of
        self._on_due = on_due
        self._on_wakeup = on_wakeup
        names = tuple(accounts)
        self._all = [AccountState(name, number, interval) for number, name in enumerate(names)]
        self._states = dict(zip(names, self._all, strict=True))
        self._wakeups = Wakeups(names, epoch, self._resync)
        # Accounts that wait for a trailing wake-up, as a heap by time. If the wake-up
        # happens earlier, its entry stays until its time and then does nothing. Two
        # entries of one account are an interval apart, so the heap stays small.
        self._due: list[tuple[float, str]] = []

    @property
    def cursor(self) -> Cursor:
        """The end of the history: everything up to now."""
        return self._wakeups.cursor

    @property
    def accounts(self) -> Iterable[AccountState]:
        """The state of every account, in the order of their declaration."""
        return self._states.values()

    @property
    def subscribers(self) -> int:
        """How many subscriptions there are."""
        return self._wakeups.subscribers

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
        self._ring(self._states[account], origin, now, time)

    def ring_unread(self, account: str, origin: Origin, now: float, time: int) -> None:
        """Take a connection that a limit forbade to read, of a source that is known.

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
        if not state.coalescer.held_back:
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
            wake: called when there is something to take, once until everything is taken.
                It must not block.

        Returns:
            The subscriber. `Hub.unsubscribe` ends it.

        Raises:
            KeyError: there is no such account.
        """
        return self._wakeups.subscribe(accounts, after, wake)

    def unsubscribe(self, subscriber: Subscriber) -> None:
        """End a subscription. It is no error if it has ended already."""
        self._wakeups.unsubscribe(subscriber)

    def _resync(self, number: int) -> Notification:
        """Return the notification for a subscriber that has missed wake-ups of an account."""
        state = self._all[number]
        stamp = self._started if state.time is None else state.time
        return Notification(state.name, Cause.RESYNC, 0, None, None, self._time_of(stamp))

    def _wake_up(self, state: AccountState, count: int) -> None:
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
        self._wakeups.add(state.number, notification)
