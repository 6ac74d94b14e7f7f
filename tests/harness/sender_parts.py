"""The pure parts of mailbell-sender and its store, put together as its daemon does it.

There is no process, no socket and no event loop: a test plays them, and the clocks.
"""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

from mailbell.core.networks import Address
from mailbell.logs.journal import Journal
from mailbell.sender import daemon
from mailbell.sender._accounts import Account, Accounts
from mailbell.sender._address_book import AddressBook
from mailbell.sender._address_rules import AddressRules
from mailbell.sender._bell import Bell
from mailbell.sender._call import SECRET
from mailbell.sender._counters import Counters
from mailbell.sender._reception import Reception
from mailbell.sender._ring import Ring
from mailbell.sender._schedule import Schedule
from mailbell.sender._speakers import Speakers
from mailbell.sender._store import Store
from mailbell.sender._store_file import Examined, Verdict
from mailbell.sender.configuration import Configuration

__all__ = ["BOB", "ROOT", "Clocks", "Parts", "Sizes"]

ROOT, BOB = 0, 1001


@dataclass
class Clocks:
    """All clocks of a machine. They go on together, until it sleeps or boots.

    Attributes:
        now: of the event loop. It stands still while the machine sleeps.
        when: goes on for ever.
        boot: when the machine began, on `when`.
    """

    now: float = 1000.0
    when: float = 100_000.0
    boot: float = 64.0

    def steady(self) -> float:
        """The clock of the address book."""
        return self.when - self.boot

    def wall(self) -> float:
        """Seconds since 1970."""
        return self.when + 1_800_000_000

    def sleep(self, seconds: float) -> None:
        """Let the machine sleep."""
        self.when += seconds

    def go_to(self, now: float) -> None:
        """Go on to a time of the event loop."""
        self.when += now - self.now
        self.now = now


@dataclass(frozen=True)
class Sizes:
    """What the configuration says, and how many accounts the book holds.

    Attributes:
        accounts: of the book at most.
    """

    interval: float
    backoff: tuple[float, float]
    rate: float
    connections: int
    deadline: float
    ttl: float
    addresses: int
    accounts: int

    @property
    def horizon(self) -> float:
        """As the daemon computes it."""
        return max(self.ttl, self.backoff[1])


class _HeardBell(Bell):
    """The bell; the test hears what it is told."""

    heard: Callable[[Account], None]

    def ring(self, account: Account, now: float) -> None:
        self.heard(account)
        super().ring(account, now)


class Parts:
    """One run of the sender.

    Args:
        path: its database.
        configuration: its accounts and rules.
        sizes: the rest of its configuration.
        clocks: of the machine.
        on_ring: is told what became of each notification.
        on_due: is told that the schedule may be due earlier.
        heard: is told of each account that is rung.

    Attributes:
        waiting: the accounts that the last run has left to ring.
    """

    def __init__(
        self,
        path: str,
        configuration: Configuration,
        sizes: Sizes,
        clocks: Clocks,
        *,
        on_ring: Callable[[Ring], None],
        on_due: Callable[[], None],
        heard: Callable[[Account], None],
    ) -> None:
        journal = Journal(lambda _: None, lambda: clocks.now)
        self.accounts = Accounts(configuration)
        self.book = AddressBook(sizes.ttl, sizes.addresses, sizes.accounts, secret="of the tests")
        verdict = Verdict.GOOD if os.path.exists(path) else Verdict.ABSENT
        self.store = Store.open(
            Examined(path, verdict),
            book=self.book,
            journal=journal,
            steady=clocks.steady,
            wall=clocks.wall,
        )
        self.schedule = Schedule(
            interval=sizes.interval,
            backoff=sizes.backoff,
            rate=sizes.rate,
            connections=sizes.connections,
            deadline=sizes.deadline,
            horizon=sizes.horizon,
            on_ring=on_ring,
            on_due=on_due,
            steady=clocks.steady,
            secret=bytes(SECRET),
        )
        self.rules = AddressRules((), configuration.last_used.deny, ())
        self.bell = _HeardBell(
            book=self.book,
            rules=self.rules,
            schedule=self.schedule,
            steady=clocks.steady,
            note=self.store.note,
            on_ring=on_ring,
        )
        self.bell.heard = heard
        speakers = Speakers(self.accounts, {ROOT: "root", BOB: "bob"}, (ROOT,))
        self.reception = Reception(
            self.accounts, speakers, self.bell, configuration.quiet.folders, Counters(), journal
        )
        self.store.load()
        self.waiting = self._waiting()

    def _waiting(self) -> Iterator[Account]:
        """Return what the daemon finds."""
        parts: Any = SimpleNamespace(
            _store=self.store, _accounts=self.accounts, _book=self.book, _all_names=None
        )
        parts._all_names = lambda: daemon.Daemon._all_names(parts)
        return daemon.Daemon._waiting(parts)

    def close(self, now: float, *, has_resumed: bool) -> None:
        """End in order, as the daemon does."""
        self.reception.ring_late(now, all_of_them=True)
        waiting = dict.fromkeys(self.schedule.waiting())
        self.store.close(waiting, finished=has_resumed)

    def is_refused(self, address: Address) -> bool:
        """Whether the rules refuse an address of a login."""
        return self.rules.refusal(address) is not None
