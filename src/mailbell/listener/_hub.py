"""The hub takes the notifications of all accounts, and makes wake-ups of them.

A notification is idempotent ("look for mail"), so the hub keeps state and no queues: for
each account what was held back, and the last wake-up. `mailbell.listener._wakeups` has what
each subscriber must still get. No other part of the daemon waits for a subscriber. Pure:
times are arguments, and a subscriber is woken through a plain function.
"""

from collections import deque
from collections.abc import Callable, Iterable
from heapq import heappop, heappush
from math import inf
from typing import Final

from mailbell.core.notification import Cause, Cursor, Notification
from mailbell.listener._account_state import MANUAL, AccountState, Group, Origin
from mailbell.listener._wakeups import Subscriber, Wakeups

__all__ = ["MANUAL", "AccountState", "Hub", "Origin"]

# Accounts that a notification rings at once. More are rung in rounds (`Group`).
FEW: Final = 8
# How much `tick` does at most: accounts that it visits, and those with a wake-up that is due.
PORTION: Final = 64
# Subscribers that name an account and cost as much as one account more in a portion.
_LISTENERS: Final = 16


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
        # A negative number is a group's (`~number`), which then begins a round.
        self._due: list[tuple[float, int]] = []
        self._interval = interval
        self._groups: list[Group] = []
        # By the identity of the names, because to hash 10,000 names takes long.
        self._group_of: dict[int, Group] = {}
        self._rounds: deque[Group] = deque()

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

    def state(self, account: str) -> AccountState:
        """Return the state of an account. It is the same object as long as the hub exists.

        Args:
            account: an account of this hub.

        Raises:
            KeyError: there is no such account.
        """
        return self._states[account]

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

    def ring_all(self, accounts: tuple[str, ...], origin: Origin, now: float, time: int) -> None:
        """Take one notification for several accounts. For many the cost is that for one.

        Args:
            accounts: accounts of this hub. For the same accounts it must be the same object
                each time, because the hub keeps it.
            origin: the origin of the notification.
            now: monotonic clock, in seconds.
            time: when it arrived, as a stamp.

        Raises:
            KeyError: there is no such account.
        """
        if len(accounts) <= FEW:
            for account in accounts:
                self._ring(self._states[account], origin, now, time)
        else:
            self._ring_group(self._group(accounts), origin, now, time)

    def ring_all_unread(
        self, accounts: tuple[str, ...], origin: Origin, now: float, time: int
    ) -> None:
        """Do the same for a connection that a limit forbade to read: see `ring_unread`.

        Args:
            accounts: as for `ring_all`.
            origin: the origin of the connection.
            now: monotonic clock, in seconds.
            time: when it arrived, as a stamp.

        Raises:
            KeyError: there is no such account.
        """
        if len(accounts) <= FEW:
            for account in accounts:
                self.ring_unread(account, origin, now, time)
            return
        group = self._group(accounts)
        if group.coalescer.held_back:
            group.note_unread(origin, time)
        else:
            self._ring_group(group, origin, now, time)

    def _group(self, accounts: tuple[str, ...]) -> Group:
        group = self._group_of.get(id(accounts))
        if group is None:
            members = [self._states[account] for account in accounts]
            group = Group(len(self._groups), accounts, members, self._interval)
            self._groups.append(group)
            self._group_of[id(accounts)] = group
        return group

    def _ring_group(self, group: Group, origin: Origin, now: float, time: int) -> None:
        group.note(origin, time)
        if group.coalescer.ring(now):
            self._begin_round(group)
        elif group.coalescer.held_back == 1:
            self._push(group.coalescer.next, ~group.number)

    def _begin_round(self, group: Group) -> None:
        if not group.left:
            self._rounds.append(group)
        group.begin_round()
        self._on_due()

    def _ring(
        self, state: AccountState, origin: Origin, now: float, time: int, count: int = 1
    ) -> None:
        state.note(origin, time)
        coalescer = state.coalescer
        released = coalescer.ring(now, count)
        if released:
            self._wake_up(state, released)
        elif coalescer.held_back == count:  # the first one since the last wake-up
            self._push(coalescer.next, state.number)

    def _push(self, due: float, number: int) -> None:
        heappush(self._due, (due, number))
        self._on_due()

    @property
    def next_due(self) -> float | None:
        """When `tick` must run next: monotonic clock, in seconds; None: no wake-up waits."""
        if self._rounds:
            return -inf
        return self._due[0][0] if self._due else None

    def tick(self, now: float) -> bool:
        """Deliver the trailing wake-ups that are due, and go on with the rounds: one portion.

        Args:
            now: monotonic clock, in seconds.

        Returns:
            Whether there is more to do at once. The caller lets other tasks run first.
        """
        left = PORTION
        while left > 0 and self._due and self._due[0][0] <= now:
            left -= self._release(heappop(self._due)[1], now)
        left = PORTION
        while left > 0 and self._rounds:
            left -= self._visit(self._rounds[0], now)
            if not self._rounds[0].left:
                self._rounds.popleft()
        self._rounds.rotate(-1)  # another group is first in the next portion
        due = self.next_due
        return due is not None and due <= now

    def _release(self, number: int, now: float) -> int:
        """Deliver what was held back until now; return what it cost."""
        if number < 0:
            group = self._groups[~number]
            if group.coalescer.tick(now):
                self._begin_round(group)
            return 1
        state = self._all[number]
        count = state.coalescer.tick(now)
        if count:
            self._wake_up(state, count)
        return self._cost(state)

    def _visit(self, group: Group, now: float) -> int:
        """Ring the next account of a round; return what it cost."""
        state, count = group.visit()
        if count:
            self._ring(state, group.origin, now, group.time, count)
        return self._cost(state)

    def _cost(self, state: AccountState) -> int:
        return 1 + self._wakeups.listeners(state.number) // _LISTENERS

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
        # Nothing that came before this wake-up may wait for another one.
        count += state.fetch()
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
