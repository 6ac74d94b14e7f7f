"""The hub with its timer, beside a model that keeps every notification in a list.

`World` drives a real hub as mailbelld does, and checks each wake-up against what rang. The
machines of `tests/listener/test_hub_model.py` and `tests/client/test_subscription_model.py` use it.
"""

import math
from dataclasses import dataclass, field
from typing import Final

import pytest

from mailbell.core.networks import Family
from mailbell.core.notification import Cause, Notification, Transport
from mailbell.listener import _hub, _wakeups
from mailbell.listener._hub import MANUAL, Hub, Origin

__all__ = ["ACCOUNTS", "GROUPS", "ORIGINS", "STEPS", "Size", "World"]

ACCOUNTS: Final = tuple("abcdefgh")
# Lines for several accounts at once. Some accounts are in several groups, one is in all of them.
GROUPS: Final = (ACCOUNTS, ACCOUNTS[2:7], ACCOUNTS[4:], ("e",), ("a", "e"))
ORIGINS: Final = (
    MANUAL,
    Origin(Cause.NETWORK, Transport.TCP, Family.IPV4, 0xC0000219),
    Origin(Cause.NETWORK, Transport.UDP, Family.IPV6, 0x20010DB8 << 96),
)
# Parts of an interval. The last one is a machine that slept.
STEPS: Final = (0.0, 1e-9, 0.1, 0.5, 0.9, 1 - 1e-9, 1.0, 1.1, 7.0, 1e5)
# More rounds than this without an end: the hub would keep the daemon busy for ever.
_MOST_TICKS: Final = 1000


@dataclass(frozen=True)
class Size:
    """The bounds of the hub, made small, so that few accounts reach them.

    Attributes:
        few: accounts that a notification rings at once; more are a group.
        portion: what one `tick` does at most.
        recent: wake-ups that are kept in order.
    """

    few: int = 3
    portion: int = 2
    recent: int = 4

    def apply(self, patch: pytest.MonkeyPatch) -> None:
        """Make the hub so small."""
        patch.setattr(_hub, "FEW", self.few)
        patch.setattr(_hub, "PORTION", self.portion)
        patch.setattr(_wakeups, "_RECENT", self.recent)


@dataclass
class Rung:
    """One notification of an account that no wake-up has stood for yet."""

    now: float
    time: int
    origin: Origin
    is_read: bool
    is_alone: bool  # it came for few accounts, and not for a group


@dataclass
class Naive:
    """What the model knows of an account in one run of the daemon."""

    groups: int
    waiting: list[Rung] = field(default_factory=list)
    woken: float = -math.inf
    count: int = 0

    @property
    def last_read(self) -> int:
        """The place of the last notification that was read; the first one if none was."""
        return max((n for n, rung in enumerate(self.waiting) if rung.is_read), default=0)


class World:
    """One machine: the daemon runs, is restarted, and its timer is on time or late.

    Args:
        interval: of the hub, in seconds.
        now: where the monotonic clock begins.
        size: the bounds of the hub; the caller has applied them.
        accounts: those of the first run.

    Attributes:
        hub: of the present run.
        history: the account and the count of each wake-up of this run; the first one is number 1.
    """

    def __init__(
        self, interval: float, now: float, size: Size, accounts: tuple[str, ...] = ACCOUNTS
    ) -> None:
        self.interval = interval
        self.now = now
        self.size = size
        self.run = 0
        self.stamp = 0
        self.start(accounts)

    @property
    def epoch(self) -> str:
        """The name of this run."""
        return f"run-{self.run}"

    def start(self, accounts: tuple[str, ...] = ACCOUNTS) -> None:
        """Begin a run of the daemon. What the run before knew is gone."""
        self.run += 1
        self.stamp += 1
        self.started = self.stamp
        self.history: list[tuple[str, int]] = []
        self.accounts = {name: Naive(self._groups_of(name, accounts)) for name in accounts}
        self.last_times: dict[str, int] = {}
        self.is_late = False
        self.is_woken = False
        self.alarm: float | None = None
        self.hub = Hub(
            accounts,
            interval=self.interval,
            epoch=self.epoch,
            started=self.started,
            on_due=self._wake_timer,
            on_wakeup=self._note_wakeup,
        )
        # The hub finds a group by the identity of its names.
        self.groups = tuple(tuple(n for n in group if n in accounts) for group in GROUPS)

    def _groups_of(self, name: str, accounts: tuple[str, ...]) -> int:
        groups = [[each for each in group if each in accounts] for group in GROUPS]
        return sum(name in group and len(group) > self.size.few for group in groups)

    # --- what rings -----------------------------------------------------------------------

    def ring(self, account: str, origin: Origin, *, is_read: bool = True) -> None:
        """One notification for one account, as `Admission` passes it on."""
        if account not in self.accounts:
            return
        due = self.accounts[account].woken + self.interval
        self._note((account,), origin, is_read=is_read)
        if not is_read:
            self.hub.ring_unread(account, origin, self.now, self.stamp)
            return
        if not self.hub.state(account).merge(origin, self.now, self.stamp):
            self.hub.ring(account, origin, self.now, self.stamp)
        # However late the timer is: what may be passed on now is not held back for it.
        assert self.now < due or not self.accounts[account].waiting

    def ring_group(self, number: int, origin: Origin, *, is_read: bool = True) -> tuple[str, ...]:
        """One notification for all accounts of a group; return their names."""
        names = self.groups[number]
        self._note(names, origin, is_read=is_read)
        ring = self.hub.ring_all if is_read else self.hub.ring_all_unread
        ring(names, origin, self.now, self.stamp)
        return names

    def _note(self, names: tuple[str, ...], origin: Origin, *, is_read: bool) -> None:
        self.stamp += 1
        is_alone = len(names) <= self.size.few
        for name in names:
            rung = Rung(self.now, self.stamp, origin, is_read, is_alone)
            self.accounts[name].waiting.append(rung)

    # --- time -----------------------------------------------------------------------------

    def _wake_timer(self) -> None:
        self.is_woken = True

    def tick(self) -> None:
        """Run `tick` once, as the timer does when it wakes."""
        before = len(self.history)
        self.is_woken = False
        has_more = self.hub.tick(self.now)
        self.alarm = self.hub.next_due
        assert has_more == (self.alarm is not None and self.alarm <= self.now)
        # One portion of those that are due, and one of those that a round visits.
        assert len(self.history) - before <= 2 * self.size.portion

    def settle(self) -> None:
        """Let the timer run until nothing is due. It knows only what it was told."""
        for _ in range(_MOST_TICKS):
            if not (self.is_woken or (self.alarm is not None and self.alarm <= self.now)):
                self.is_late = False
                return
            self.tick()
        raise AssertionError("the hub is due without an end")

    def go_on(self, seconds: float) -> None:
        """Let time pass, with a timer that is on time."""
        self.settle()
        end = self.now + seconds
        while self.alarm is not None and self.alarm <= end:
            self.now = max(self.now, self.alarm)
            self.settle()
        self.now = end
        self.settle()

    def stall(self, seconds: float) -> None:
        """Let time pass while the process does not run."""
        self.now += seconds
        self.is_late = True

    # --- what is promised -----------------------------------------------------------------

    def _note_wakeup(self, told: Notification) -> None:
        naive = self.accounts[told.account]
        waiting = naive.waiting
        assert waiting, "a wake-up without a notification"
        assert self.now >= naive.woken + self.interval, "two wake-ups within an interval"
        self._check_on_time(naive)
        self._check_count(naive, told.count)
        last = waiting[naive.last_read :]
        assert self._describe(told) in [self._describe_rung(rung) for rung in last]
        naive.count += told.count
        self.last_times[told.account] = told.time
        naive.waiting, naive.woken = [], self.now
        self.history.append((told.account, told.count))

    def _check_on_time(self, naive: Naive) -> None:
        first = naive.waiting[0]
        if self.is_late:
            return
        assert self.now <= first.now + self.interval, "later than an interval"
        if all(rung.is_alone for rung in naive.waiting):
            assert self.now == max(first.now, naive.woken + self.interval)

    def _check_count(self, naive: Naive, count: int) -> None:
        """Each notification that was read counts once, and all others together as few.

        Those for few accounts count as one. Those for a group count as one because the account had
        fetched what waited, and as one before each round of the group. Two of its rounds at most
        begin between two wake-ups of one account.
        """
        read = sum(rung.is_read for rung in naive.waiting)
        alone = sum(rung.is_alone and not rung.is_read for rung in naive.waiting)
        grouped = len(naive.waiting) - read - alone
        most = read + min(alone, 1) + min(grouped, 1 + 2 * naive.groups)
        assert max(read, 1) <= count <= most

    def _describe(self, told: Notification) -> tuple[object, ...]:
        return (told.cause, told.transport, told.source, told.time)

    def _describe_rung(self, rung: Rung) -> tuple[object, ...]:
        origin = rung.origin
        return (origin.cause, origin.transport, str(origin) or None, rung.time)

    def check(self) -> None:
        """Check what holds at every moment at which the timer has done its work."""
        self._check_memory()
        assert self.hub.cursor.sequence == len(self.history)
        assert self.hub.cursor.epoch == self.epoch
        for state in self.hub.accounts:
            assert state.count == self.accounts[state.name].count
        if self.is_late or self.is_woken:
            return
        for naive in self.accounts.values():
            if naive.waiting:
                assert self.now < naive.waiting[0].now + self.interval, "a wake-up was forgotten"
                assert self.alarm is not None
                assert self.alarm <= naive.waiting[0].now + self.interval
                if all(rung.is_alone for rung in naive.waiting):
                    assert self.alarm <= naive.woken + self.interval

    def _check_memory(self) -> None:
        hub = self.hub
        assert len(hub._groups) <= len(GROUPS)
        assert len(set(map(id, hub._rounds))) == len(hub._rounds)
        future = [number for due, number in hub._due if due > self.now]
        assert len(set(future)) == len(future), "several entries of one account"
        if not self.is_late and not self.is_woken:
            assert len(hub._due) == len(future)
