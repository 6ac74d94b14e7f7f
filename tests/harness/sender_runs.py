"""A machine on which the sender runs, ends, is killed and begins again, and what it owes to whom.

The sender's parts are real. The model keeps every notification in a list.
"""

import math
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

import pytest
from harness.killable_disk import Disk, KilledError
from harness.naive_book import NaiveBook, Seen
from harness.naive_debts import Debt, Key, Network, State
from harness.sender_parts import ROOT, Clocks, Parts, Sizes

from mailbell.core.networks import Address
from mailbell.core.sender_outcome import InputOutcome, RingOutcome
from mailbell.core.target import Target
from mailbell.sender import _database, _speakers, _store, daemon
from mailbell.sender._accounts import Account, LastUsed
from mailbell.sender._requests import NewMail
from mailbell.sender._requests import Seen as Login
from mailbell.sender._ring import Ring
from mailbell.sender._schedule import Call
from mailbell.sender._speakers import Origin, Speaker
from mailbell.sender.configuration import parse

__all__ = ["ADDRESSES", "BETWEEN", "DESKS", "NAMES", "PORTION", "Flight", "Plan", "SenderRuns"]

CONFIGURATION: Final = parse(b"""
[[account]]
name = "anna@example.org"
targets = ["last-used"]
[[account]]
name = "bob"
targets = ["198.51.100.1", "last-used"]
[[account]]
name = "carl@example.org"
targets = ["198.51.100.1", "198.51.100.2"]
[[account]]
name = "gone@example.org"
enabled = false
targets = ["198.51.100.3"]
[default]
targets = ["last-used"]
[last_used]
deny = ["203.0.113.0/24"]
""")
NAMES: Final = (
    "anna@example.org",
    "bob",
    "carl@example.org",
    "dora@example.org",
    "emil@example.org",
)
DESKS: Final = tuple(map(Address.parse, ("192.0.2.1", "192.0.2.2", "2001:db8::7", "198.51.100.1")))
ADDRESSES: Final = (*DESKS, Address.parse("198.51.100.2"))
PORTION: Final = 2  # accounts that are rung at once after a start
BETWEEN: Final = 0.1  # seconds between two portions

Plan = tuple[int, float | None]
"""When the sender is killed: after so many writes, and how much of the next one is on the disk."""


@dataclass
class Flight:
    """An attempt that is on its way."""

    key: Key
    began: float
    ends: float
    outcome: RingOutcome


class SenderRuns:
    """One run after the other, and what each of them owes."""

    def boot(self, sizes: Sizes) -> None:
        """Begin the first run.

        Args:
            sizes: of the configuration.
        """
        self.sizes = sizes
        self.clocks = Clocks()
        self.folder = tempfile.TemporaryDirectory(prefix="mailbell-")
        path = f"{self.folder.name}/state.db"
        self.disk = Disk(path, _database.connect)
        self.patch = pytest.MonkeyPatch()
        for what, name, value in (
            (_database, "connect", self.disk.connect),
            (daemon, "steady", self.clocks.steady),
            (_speakers, "USER_BURST", 2),
            (_speakers, "USER_RATE", 0.25),
            (_store, "_SWEEP", 2),
            (_store, "_SWEPT", 1),
            (_store, "_NAMES", 2),
            (_store, "_CHECKPOINT", 5),
        ):
            self.patch.setattr(what, name, value)
        self.book = NaiveBook(sizes.ttl, sizes.addresses, sizes.accounts, self.hear_evicted)
        self.network = dict.fromkeys(ADDRESSES, Network.ANSWERS)
        self.since = dict.fromkeys(ADDRESSES, -math.inf)
        self.number = 0
        self.parts: Parts
        self.states: dict[Key, State] = {}
        self.full_since = -math.inf
        self.start(())

    def shut_down(self) -> None:
        """Undo what was changed for this machine."""
        self.patch.undo()
        if self.disk.real is not None:
            self.disk.real.close()
        self.folder.cleanup()

    @property
    def turn(self) -> float:
        """The longest time in a queue: all others first, a turn in four, and all are silent."""
        if self.sizes.connections == 256 and self.sizes.rate == 1000.0:
            return 0.1  # there is room for all at once
        return 4 * 2 * len(ADDRESSES) * (self.sizes.deadline + 1 / self.sizes.rate + 0.01)

    @property
    def latest(self) -> float:
        """How long after it came a notification is delivered at the latest, if its target answers.

        The attempt that is on its way fails, the back-off is the longest, the interval may be
        longer than that, and each of two attempts waits for its turn.
        """
        sizes = self.sizes
        return sizes.backoff[1] + 2 * sizes.interval + 2 * sizes.deadline + 2 * self.turn

    def start(self, owed: tuple[str, ...]) -> None:
        """Begin a run, and note that it must ring the accounts that are owed."""
        self.states = {}
        self.flights: dict[Call, Flight] = {}
        self.is_due = False
        self.paused_until = -math.inf
        self.parts = Parts(
            self.disk.path,
            CONFIGURATION,
            self.sizes,
            self.clocks,
            on_ring=self.hear_outcome,
            on_due=self.wake,
            heard=self.hear_ring,
        )
        self.waiting: Iterator[Account] | None = self.parts.waiting
        self.resume_at = self.clocks.now
        self.retry_at = self.clocks.now + daemon.RETRY
        self.is_marked = self.parts.store.status().working
        self.book.restart(self.parts.book, self.clocks.steady(), self.clocks.when)
        self.late_at = self.clocks.now
        self.parts.reception.late.wake = self.wake_late
        for name in owed:
            self.owe(name, self.clocks.now + BETWEEN * len(NAMES))

    def wake(self) -> None:
        self.is_due = True

    def wake_late(self) -> None:
        """Look soon who rings although a limit refused it."""
        self.late_at = self.clocks.now

    def owed(self) -> tuple[str, ...]:
        """Return the accounts that still wait for a ring."""
        steady = self.clocks.steady()
        states = self.states.values()
        return tuple({debt.account: None for each in states for debt in each.promised(steady)})

    def be_away(self, is_boot: bool, away: float) -> None:
        self.disk.bury()
        self.clocks.sleep(away)
        if is_boot:
            self.clocks.boot = self.clocks.when - 32.0

    def end_run(self, at_end: Plan | None, at_start: Plan | None, *, is_boot: bool = False) -> None:
        """End the sender in order, perhaps before it has rung what the last run had left.

        Args:
            at_end: when it is killed while it ends; None: it is not.
            at_start: when the next run is killed while it begins; None: it is not.
            is_boot: whether the machine boots between the two runs.
        """
        has_resumed, is_full = self.waiting is None, self.disk.is_full
        owed = self.owed() if self.is_marked or (has_resumed and not is_full) else ()
        if self.is_marked and (not has_resumed or is_full):
            owed = NAMES
        if self.dies_at(at_end, self.close):
            owed = self.owed() if self.is_marked else ()
        self.be_away(is_boot, 0.0)
        if self.dies_at(at_start, lambda: self.start(owed)):
            self.disk.bury()
            self.start(owed)

    def close(self) -> None:
        """End the sender in order."""
        self.parts.close(self.clocks.now, has_resumed=self.waiting is None)

    def dies_at(self, plan: Plan | None, act: Callable[[], None]) -> bool:
        """Do something that writes, and die as planned; tell whether it came to that."""
        if plan is not None:
            self.disk.kill_at(*plan)
        try:
            act()
        except KilledError:
            return True
        self.disk.spare()
        return False

    def hear_ring(self, account: Account) -> None:
        """The bell rings an account: all of its targets are owed from now on."""
        if account.enabled:
            self.owe(account.name, self.clocks.now, is_rung=True)

    def hear_evicted(self, name: str) -> None:
        """The book is full. An account that is to be rung later has no address then."""
        for key, state in self.states.items():
            for debt in state.debts:
                if debt.account == name and not (debt.is_rung or key.is_configured):
                    debt.is_excused = True

    def owe(self, name: str, since: float, *, is_rung: bool = False) -> None:
        account = self.parts.accounts.find(name)
        assert account is not None
        for key, until in self.targets(account):
            self.number += 1
            state = self.states.setdefault(key, State())
            state.owe(Debt(account.name, self.number, since, until, is_rung))

    def targets(self, account: Account) -> Iterator[tuple[Key, float]]:
        """Yield the targets that an account has now, and until when."""
        configured = {each.host for each in account.targets if isinstance(each, Target)}
        for each in account.targets:
            if isinstance(each, Target):
                assert isinstance(each.host, Address)
                yield Key(each.host, True), math.inf
        if any(isinstance(each, LastUsed) for each in account.targets):
            for seen in self.book.fresh(account.name, self.clocks.steady()):
                if seen.address not in configured:
                    yield Key(seen.address, False), seen.time + self.sizes.ttl

    def hear_outcome(self, ring: Ring) -> None:
        if ring.outcome is not RingOutcome.EXPIRED:
            return
        assert ring.target is not None
        assert isinstance(ring.target.host, Address)
        steady = self.clocks.steady()
        given_up = [
            state
            for is_configured in (True, False)
            if (state := self.states.get(Key(ring.target.host, is_configured))) is not None
            and state.debts
            and state.may_be_given_up(self.clocks.now, steady, self.sizes)
        ]
        assert given_up, "given up too early"
        if len(given_up) == 1:
            given_up[0].give_up()
        for state in given_up[1:] and given_up:  # one of them was, and nobody says which
            state.excuse()

    def take(self, request: NewMail | Login, by: int) -> InputOutcome:
        return self.parts.reception.take(request, Speaker(by, Origin.HOOK), self.clocks.now)

    def note_login(self, name: str, address: Address) -> None:
        account = self.parts.accounts.find(name)
        assert account is not None
        now, clocks = self.clocks.now, self.clocks
        if any(isinstance(each, LastUsed) for each in account.targets):
            pushed_out = self.book.see(name, Seen(address, clocks.steady(), clocks.when))
            for key in (Key(each, False) for each in pushed_out):
                for debt in self.states.get(key, State()).debts:
                    debt.is_excused = debt.is_excused or debt.account == name
        for key in self.named_by(account, address):
            if key in self.states:
                self.states[key].forgive(now, self.sizes)
        outcome = self.parts.reception.take(Login(name, address), Speaker(ROOT, Origin.HOOK), now)
        assert outcome is InputOutcome.ACCEPTED

    def named_by(self, account: Account, address: Address) -> Iterator[Key]:
        for each in account.targets:
            if isinstance(each, LastUsed):
                yield Key(address, False)
            elif each.host == address:
                yield Key(address, True)
