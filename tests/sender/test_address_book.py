"""The address book, against a naive one, and how much memory it takes."""

import subprocess
import sys
from dataclasses import dataclass, field
from random import Random
from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from mailbell.core.networks import Address, Family
from mailbell.sender._address_book import (
    MAX_ACCOUNTS,
    AddressBook,
    Sighting,
    pack_address,
    unpack_address,
)

TTL: Final = 100.0
NAMES: Final = tuple(f"user{number}@example.org" for number in range(12))


def v4(number: int) -> Address:
    return Address(Family.IPV4, 0xC000_0200 + number)


def v6(number: int) -> Address:
    return Address(Family.IPV6, (0x2001_0DB8 << 96) + number)


ADDRESSES: Final = st.builds(v4, st.integers(0, 6)) | st.builds(v6, st.integers(0, 6))


def book(addresses: int = 4, accounts: int = 100) -> AddressBook:
    return AddressBook(TTL, addresses, accounts, secret="of the tests")


@dataclass
class NaiveBook:
    """The same with lists, and as slow as that is."""

    addresses: int
    accounts: int
    seen: list[tuple[str, list[Sighting]]] = field(default_factory=list)  # oldest account first

    def see(self, account: str, address: Address, now: float) -> None:
        before = self._take(account)
        others = [one for one in before if one.address != address and now - one.time <= TTL]
        self.seen.append((account, [Sighting(address, now), *others][: self.addresses]))
        del self.seen[: max(len(self.seen) - self.accounts, 0)]

    def logins(self, account: str, now: float) -> tuple[Sighting, ...]:
        found = dict(self.seen).get(account, [])
        return tuple(one for one in found if now - one.time <= TTL)

    def _take(self, account: str) -> list[Sighting]:
        for place, (name, sightings) in enumerate(self.seen):
            if name == account:
                del self.seen[place]
                return sightings
        return []


class BookMachine(RuleBasedStateMachine):
    @initialize(addresses=st.integers(1, 4), accounts=st.integers(1, 8))
    def begin(self, addresses: int, accounts: int) -> None:
        self.now = 1000.0
        self.book = book(addresses, accounts)
        self.naive = NaiveBook(addresses, accounts)

    @rule(account=st.sampled_from(NAMES), address=ADDRESSES)
    def see(self, account: str, address: Address) -> None:
        self.book.see(account, address, self.now)
        self.naive.see(account, address, self.now)

    @rule(seconds=st.sampled_from([0.0, 1.0, 30.0, TTL, TTL + 1]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def expire(self) -> None:
        self.book.expire(self.now)

    @rule()
    def sort(self) -> None:
        """It changes nothing: the accounts are in this order already, or seen at one time."""
        self.book.sort()
        order = {account: place for place, account in enumerate(self._order())}
        self.naive.seen.sort(key=lambda entry: (entry[1][0].time, order.get(entry[0], -1)))

    @rule(data=st.data())
    def restart(self, data: st.DataObject) -> None:
        """What one book tells, another one can be given, in any order."""
        entries = [(name, found) for name, found in self.naive.seen if self._fresh(found)]
        entries = data.draw(st.permutations(entries))
        self.book = book(self.naive.addresses, self.naive.accounts)
        for name, sightings in entries:
            assert self.book.restore(name, sightings)
            assert not self.book.restore(name, sightings)
        self.book.sort()
        order = {account: place for place, account in enumerate(self._order())}
        kept = [entry for entry in self.naive.seen if entry[0] in order]
        self.naive.seen = sorted(kept, key=lambda entry: order[entry[0]])
        times = [sightings[0].time for _, sightings in self.naive.seen]
        assert times == sorted(times)

    def _fresh(self, sightings: list[Sighting]) -> bool:
        return self.now - sightings[0].time <= TTL

    def _order(self) -> list[str]:
        """Return the accounts of the book from the one that goes first."""
        found = {}
        for name in NAMES:
            place, number = self.book._find(name)
            if self.book._index[place]:
                found[number] = name
        order, number = [], self.book._oldest
        while number in found:
            order.append(found[number])
            number = self.book._accounts.get(number)[4]
        return order

    @invariant()
    def it_tells_the_same(self) -> None:
        if not hasattr(self, "book"):
            return
        for name in NAMES:
            expected = self.naive.logins(name, self.now)
            assert self.book.logins(name, self.now) == expected
            assert self.book.fresh(name, self.now) == tuple(one.address for one in expected)
        assert len(self.book) <= self.book.limit

    @invariant()
    def the_store_may_forget_what_lies_before_the_horizon(self) -> None:
        if not hasattr(self, "book"):
            return
        horizon = self.book.horizon(self.now)
        for name in NAMES:
            for sighting in self.book.logins(name, self.now)[:1]:
                assert sighting.time >= horizon


BookMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestBook = pytest.mark.uncounted(BookMachine.TestCase)


def test_an_account_that_was_never_seen_has_no_address() -> None:
    assert book().fresh("anna", 0.0) == ()


def test_the_ttl_ends_to_the_second() -> None:
    one = book()
    one.see("anna", v4(1), 50.0)
    assert one.fresh("anna", 50.0 + TTL) == (v4(1),)
    assert one.fresh("anna", 50.5 + TTL) == ()


def test_the_newest_stands_first_and_the_oldest_goes() -> None:
    one = book(addresses=2)
    for second, number in enumerate([1, 2, 1, 3]):
        one.see("anna", v4(number), float(second))
    assert one.fresh("anna", 3.0) == (v4(3), v4(1))


def test_an_ipv4_address_in_ipv6_form_is_the_ipv4_address() -> None:
    one = book()
    one.see("anna", Address(Family.IPV6, (0xFFFF << 32) + v4(1).value), 0.0)
    one.see("anna", v4(1), 1.0)
    assert one.fresh("anna", 1.0) == (v4(1),)


def test_old_accounts_are_forgotten_a_few_at_a_time() -> None:
    one = book(accounts=100)
    for number in range(100):
        one.see(f"user{number}", v4(1), 0.0)
    one.expire(TTL)
    assert len(one) == 100
    one.expire(TTL + 1)
    assert len(one) == 92
    for _ in range(100):
        one.expire(TTL + 1)
    assert len(one) == 0
    assert one.horizon(TTL + 1) == 1.0


@pytest.mark.uncounted
def test_accounts_whose_places_in_the_index_collide_are_found_and_go() -> None:
    """Of a thousand accounts many have the same place; each that goes closes its gap.

    The first twenty are seen again and again. So those that came after them go before them.
    """
    one, naive = book(accounts=64), NaiveBook(4, 64)
    names = [f"user{number}@example.org" for number in range(1000)]
    for number, name in enumerate(names):
        for each in (name, *names[:20]):
            one.see(each, v4(1), number / 1000)
            naive.see(each, v4(1), number / 1000)
        assert one.fresh(name, 1.0) == (v4(1),)
    kept = {name for name in names if one.fresh(name, 1.0)}
    assert len(kept) == len(one)
    assert kept <= {name for name in names if naive.logins(name, 1.0)}


def test_what_cannot_be_restored_is_refused() -> None:
    one = book(addresses=1, accounts=1)
    assert not one.restore("nobody", [])
    assert one.restore("anna", [Sighting(v4(1), 5.0), Sighting(v4(2), 4.0)])
    assert not one.restore("bert", [Sighting(v4(3), 9.0)])
    assert one.fresh("anna", 5.0) == (v4(1),)
    assert one.ttl == TTL


@given(ADDRESSES)
def test_packing_loses_nothing(address: Address) -> None:
    assert unpack_address(pack_address(address)) == address


MEASURE: Final = """
import sys
from mailbell.core.networks import Address, Family
from mailbell.sender._address_book import MAX_ACCOUNTS, AddressBook

def resident():
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("RssAnon"))

book = AddressBook(1e6, 4, secret="of the tests")
before = resident()
for address in range(int(sys.argv[1])):
    for number in range(MAX_ACCOUNTS):
        book.see(f"user{number}@example.org", Address(Family.IPV6, address), float(address))
print(len(book), resident() - before)
"""


@pytest.mark.parametrize(("addresses", "kibibytes"), [(1, 8 * 1024)])
def test_100_000_accounts_take_little_memory(addresses: int, kibibytes: int) -> None:
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, str(addresses)], capture_output=True, text=True, check=True
    )
    accounts, taken = map(int, done.stdout.split())
    assert accounts == MAX_ACCOUNTS
    assert taken < kibibytes


def test_restored_accounts_go_in_the_order_in_which_they_were_seen() -> None:
    """So many that they are sorted in several parts."""
    accounts = 5000
    one = book(accounts=accounts)
    for number in range(accounts):
        time = float(number * 3001 % accounts)  # each time once, in no order
        assert one.restore(f"user{int(time)}", [Sighting(v4(1), time / accounts)])
    one.sort()
    for number in range(3):
        one.see(f"newcomer{number}", v4(2), 2.0)
        assert one.fresh(f"user{number}", 2.0) == ()
        assert one.fresh(f"user{number + 1}", 2.0) == (v4(1),)
    assert len(one) == accounts


def test_the_book_tells_how_much_it_holds_and_what_it_gave_up() -> None:
    book = AddressBook(ttl=60, addresses=2, accounts=2, secret="s")
    for account, address in (("a", "192.0.2.1"), ("a", "192.0.2.2"), ("b", "192.0.2.1")):
        book.see(account, Address.parse(address), 0)
    assert (len(book), book.sightings, book.evicted) == (2, 3, 0)
    book.see("c", Address.parse("192.0.2.1"), 1)
    assert (len(book), book.sightings, book.evicted) == (2, 2, 1)
    book.see("d", Address.parse("192.0.2.1"), 1)
    assert (len(book), book.sightings, book.evicted) == (2, 2, 2)


@pytest.mark.uncounted
def test_whichever_account_goes_all_others_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """With an index that is nearly full, and places that many accounts want, at its end too."""
    random = Random(7)
    for _ in range(20):
        one = book(accounts=6)
        last = one._last
        monkeypatch.setattr(
            AddressBook, "_fingerprint",
            lambda _, account, last=last: (hash_of(account) & last, int(account)),
        )  # fmt: skip
        alive: list[str] = []
        for step in range(60):
            name = str(random.randrange(40))
            one.see(name, v4(1), step / 1000)
            alive = [*(each for each in alive if each != name), name][-6:]
            assert [each for each in map(str, range(40)) if one.fresh(each, 1.0)] == sorted(
                alive, key=int
            )


def hash_of(account: str) -> int:
    """Two of three accounts want one of the last places."""
    return -1 - int(account) % 2 if int(account) % 3 else int(account)


def test_what_lies_back_as_long_as_it_may_is_kept_beside_a_newer_one() -> None:
    one = book()
    one.see("anna", v4(1), 50.0)
    one.see("anna", v4(2), 50.0 + TTL)
    assert one.fresh("anna", 50.0 + TTL) == (v4(2), v4(1))


def test_an_account_that_is_seen_lets_old_ones_go() -> None:
    one = book()
    one.see("anna", v4(1), 0.0)
    one.see("bob", v4(1), TTL + 1)
    assert (len(one), one.sightings, one.evicted) == (1, 1, 0)


def test_a_full_book_needs_nothing_older_than_its_oldest_account() -> None:
    one = book(accounts=2)
    one.see("anna", v4(1), 50.0)
    assert one.horizon(60.0) == 60.0 - TTL
    one.see("bob", v4(1), 55.0)
    assert one.horizon(60.0) == 50.0


def test_what_was_taken_out_makes_room_for_the_next() -> None:
    one = book(addresses=2, accounts=3)
    for number in range(100):
        for address in (1, 2, 2, 3):
            one.see(f"user{number}", v4(address), 0.0)
    assert (len(one), len(one._accounts), one.sightings) == (3, 3, 6)


def test_both_halves_of_a_fingerprint_tell_accounts_and_secrets_apart() -> None:
    books = [AddressBook(TTL, 1, 1, secret=secret) for secret in ("one", "other")]
    found = [each._fingerprint(name) for each in books for name in ("anna", "bob")]
    assert [len(set(half)) for half in zip(*found, strict=True)] == [4, 4]


def test_half_of_the_index_is_used_at_most_and_a_quarter_at_least() -> None:
    for accounts in (*range(1, 100), MAX_ACCOUNTS):
        assert 2 * accounts <= len(book(accounts=accounts)._index) < 4 * accounts


class Places(list[int]):
    """An index that counts how often one looks into it."""

    looks = 0

    def __getitem__(self, place: int) -> int:  # type: ignore[override]  # no part is asked for
        self.looks += 1
        return super().__getitem__(place)


def test_an_account_that_goes_is_found_in_a_few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also one that came late, and so may be far from where it wants to be."""
    monkeypatch.setattr(
        AddressBook, "_fingerprint", lambda _, account: (Random(account).getrandbits(63), 0)
    )
    one = book(accounts=512)
    places = Places(one._index)
    one._index = places  # type: ignore[assignment]  # it is used like an array
    for number in (*range(512), *reversed(range(512)), *range(512, 2000)):
        one.see(f"user{number}", v4(1), 0.0)
    assert one.evicted == 2000 - 512
    assert places.looks < 20 * 2512
