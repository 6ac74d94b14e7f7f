"""Who was seen where, in lists: a model of the address book and of what the store has of it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from mailbell.core.networks import Address
from mailbell.sender._address_book import AddressBook

__all__ = ["NaiveBook", "Seen"]

# The store keeps milliseconds. So a time that was read again may be earlier by as much.
ROUNDED: Final = 0.002


@dataclass(frozen=True)
class Seen:
    """One login.

    Attributes:
        address: where it came from.
        time: on the steady clock of this run.
        when: on a clock that never begins anew.
    """

    address: Address
    time: float
    when: float


@dataclass
class NaiveBook:
    """What the book must know.

    Args:
        ttl: seconds for which a login counts.
        addresses: addresses of an account.
        accounts: accounts of the book.
        on_evicted: is told of each account that the book has no room for.

    Attributes:
        seen: the accounts, that which was seen last at the end; each has its newest login first.
        versions: what the store may have of each account: the last of these, if nothing failed.
    """

    ttl: float
    addresses: int
    accounts: int
    on_evicted: Callable[[str], None]
    seen: dict[str, list[Seen]] = field(default_factory=dict)
    versions: dict[str, list[list[Seen]]] = field(default_factory=dict)

    def see(self, account: str, login: Seen) -> set[Address]:
        """Note a login; return the fresh addresses that it pushes out."""
        before = self.seen.pop(account, [])
        fresh = [each for each in before if login.time - each.time <= self.ttl]
        others = [each for each in fresh if each.address != login.address]
        self.seen[account] = kept = [login, *others][: self.addresses]
        self.versions.setdefault(account, [[]]).append(kept)
        while len(self.seen) > self.accounts:
            oldest = next(iter(self.seen))
            del self.seen[oldest]
            self.on_evicted(oldest)
        return {each.address for each in others} - {each.address for each in kept}

    def fresh(self, account: str, now: float) -> list[Seen]:
        """Return the logins that count, the newest first."""
        return [each for each in self.seen.get(account, []) if now - each.time <= self.ttl]

    def note_saved(self) -> None:
        """Note that the store says that it has everything."""
        for versions in self.versions.values():
            del versions[:-1]

    def restart(self, book: AddressBook, steady: float, when: float) -> None:
        """Compare what a new run has read with what it should have read, and go on with that.

        Args:
            book: of the new run.
            steady: the time of the new run's clock.
            when: the time of the clock that never begins anew.
        """
        loaded = {name: book.logins(name, steady) for name in self.versions}
        found: dict[str, list[Seen]] = {}
        for name, logins in loaded.items():
            for version in self.versions[name]:
                kept = self._matching(version, logins, steady, when)
                if kept is not None:
                    break
            else:
                assert not self._must_be_there(name, steady, when, loaded), f"{name} was not kept"
                assert not logins, f"{name} was kept in another form"
                kept = []
            if kept:
                found[name] = kept
        order = [name for name in _order_of(book, tuple(self.versions)) if name in found]
        times = [found[name][0].time for name in order]
        assert times == sorted(times)
        assert len(order) == len(found)
        self.seen = {name: found[name] for name in order}
        self.versions = {name: [self.seen.get(name, [])] for name in self.versions}

    def _matching(
        self,
        version: list[Seen],
        logins: tuple[tuple[Address, float], ...],
        now: float,
        when: float,
    ) -> list[Seen] | None:
        """Return a version as it was read; None: this one was not read."""
        ages = {address: now - time for address, time in logins}
        # One that is nearly too old may be there or not.
        expected = [
            each
            for each in version
            if each.address in ages or when - each.when <= self.ttl - ROUNDED
        ]
        if [each.address for each in expected] != [address for address, _ in logins]:
            return None
        if any(abs(ages[each.address] - (when - each.when)) > ROUNDED for each in expected):
            return None
        return [Seen(each.address, now - ages[each.address], each.when) for each in expected]

    def _must_be_there(
        self,
        name: str,
        steady: float,
        when: float,
        loaded: Mapping[str, tuple[tuple[Address, float], ...]],
    ) -> bool:
        """Tell whether an account cannot be missing: there was room for it, or for older ones."""
        read = [logins for logins in loaded.values() if logins]
        oldest = float("-inf")
        if len(read) == self.accounts:
            # A clock that began anew does not matter for an age.
            oldest = when - max(steady - logins[0][1] for logins in read)
        newest = (
            max((each.when for each in version), default=float("-inf"))
            for version in self.versions[name]
        )
        return all(time > oldest + ROUNDED and when - time <= self.ttl - ROUNDED for time in newest)


def _order_of(book: AddressBook, names: tuple[str, ...]) -> list[str]:
    """Return the accounts of a book from the one that goes first.

    Of those that were seen at the same time, any may go first.
    """
    found = {}
    for name in names:
        place, number = book._find(name)
        if book._index[place]:
            found[number] = name
    order, number = [], book._oldest
    while number in found:
        order.append(found[number])
        number = book._accounts.get(number)[4]
    return order
