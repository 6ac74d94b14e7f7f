"""From which addresses each account was seen last, in little memory.

The book holds up to 100,000 accounts, and the whole program may take 40 MiB. Objects of Python
for a name and an address take some 400 bytes an account. So an account is one record of bytes,
an address is another, and records lie in blocks that never move and are never given back.

A name is not kept: the record has a fingerprint of 128 bits, which depends on a secret. Two of
100,000 accounts share one with a probability of 2**-95. The store has the names.

The accounts are linked in the order in which they were seen. When the book is full, the account
that was seen least recently goes. What is older than the TTL is as if it had never been seen.
"""

import heapq
import struct
from array import array
from collections.abc import Iterable
from typing import Any, Final, NamedTuple

from mailbell.core.networks import Address, Family
from mailbell.sender._address_rules import unmapped

__all__ = ["MAX_ACCOUNTS", "AddressBook", "Sighting", "pack_address", "unpack_address"]

MAX_ACCOUNTS: Final = 100_000
"""Accounts in the book at most: as many as one large mail server has."""

_RECORDS_A_BLOCK: Final = 1024
# Fingerprint (two halves), newest sighting, the account seen before this one, the one seen after.
_ACCOUNT: Final = struct.Struct("=qqIII")
# Address, time, and the next older sighting of the same account.
_SIGHTING: Final = struct.Struct("=16sdI")
_NONE: Final = 0xFFFF_FFFF
# Accounts that are forgotten in one call. More would delay the call that finds 100,000 of them.
_FORGOTTEN_AT_ONCE: Final = 8
_SORTED_AT_ONCE: Final = 4096  # places of the index
_ADDRESS_BYTES: Final = 16
# ::ffff:0:0/96 holds the IPv4 addresses, RFC 4291, section 2.5.5.2.
_MAPPED: Final = 0xFFFF << 32


class Sighting(NamedTuple):
    """One address from which an account was seen.

    Attributes:
        address: of either family, never an IPv4 address in IPv6 form.
        time: when, in seconds of the book's clock.
    """

    address: Address
    time: float


class _Records:
    """Records of one form, by number. A record that was given back is used again."""

    __slots__ = ("_blocks", "_form", "_free", "_used")

    def __init__(self, form: struct.Struct) -> None:
        self._form = form
        self._blocks: list[bytearray] = []
        self._free: array[int] = array("I")
        self._used = 0

    def get(self, number: int) -> tuple[Any, ...]:
        block, place = divmod(number, _RECORDS_A_BLOCK)
        return self._form.unpack_from(self._blocks[block], place * self._form.size)

    def put(self, number: int, *values: float | bytes) -> None:
        block, place = divmod(number, _RECORDS_A_BLOCK)
        self._form.pack_into(self._blocks[block], place * self._form.size, *values)

    def new(self) -> int:
        if self._free:
            return self._free.pop()
        if self._used == len(self._blocks) * _RECORDS_A_BLOCK:
            self._blocks.append(bytearray(_RECORDS_A_BLOCK * self._form.size))
        self._used += 1
        return self._used - 1

    def give_back(self, number: int) -> None:
        self._free.append(number)

    def __len__(self) -> int:
        return self._used - len(self._free)


class AddressBook:
    """The last-used addresses of each account.

    Args:
        ttl: seconds for which a sighting counts.
        addresses: how many addresses of one account are remembered.
        accounts: how many accounts are remembered.
        secret: text that no peer can know. Fingerprints depend on it.

    Attributes:
        evicted: how many accounts were forgotten because the book was full.
    """

    __slots__ = (
        "_accounts", "_addresses", "_count", "_index", "_last", "_limit", "_newest", "_oldest",
        "_secret", "_sightings", "_ttl", "evicted",
    )  # fmt: skip

    def __init__(
        self, ttl: float, addresses: int, accounts: int = MAX_ACCOUNTS, *, secret: str
    ) -> None:
        self._ttl = ttl
        self._addresses = addresses
        self._limit = accounts
        self._secret = secret
        self._accounts = _Records(_ACCOUNT)
        self._sightings = _Records(_SIGHTING)
        # An open hash table: the number of an account plus one, or 0. At most half of it is used.
        size = 1 << (2 * accounts - 1).bit_length()
        self._index = array("I", [0]) * size
        self._last = size - 1
        self._count = 0
        self.evicted = 0
        self._newest = self._oldest = _NONE  # the ends of the linked accounts

    def __len__(self) -> int:
        """Return how many accounts are held. Some of them may have no fresh address."""
        return self._count

    @property
    def limit(self) -> int:
        """How many accounts are held at most."""
        return self._limit

    @property
    def sightings(self) -> int:
        """How many addresses are held, all accounts together. Some may not be fresh."""
        return len(self._sightings)

    @property
    def ttl(self) -> float:
        """For how many seconds a sighting counts."""
        return self._ttl

    def see(self, account: str, address: Address, now: float) -> None:
        """Note that an account was used from an address.

        Args:
            account: its name, in the form in which all parts of the program use it.
            address: from where. The form `::ffff:192.0.2.1` becomes IPv4.
            now: seconds of the book's clock.
        """
        self.expire(now)
        place, number = self._find(account)
        if number == _NONE:
            number = self._add(account, place, _NONE)
        else:
            self._unlink(number)
        self._link_newest(number)
        first, second, chain, before, after = self._accounts.get(number)
        chain = self._prepend(chain, address, now)
        self._accounts.put(number, first, second, chain, before, after)

    def fresh(self, account: str, now: float) -> tuple[Address, ...]:
        """Return the addresses from which an account was seen within the TTL, newest first.

        Args:
            account: its name.
            now: seconds of the book's clock.
        """
        return tuple(sighting.address for sighting in self.logins(account, now))

    def logins(self, account: str, now: float) -> tuple[Sighting, ...]:
        """Return the sightings of an account within the TTL, newest first.

        Args:
            account: its name.
            now: seconds of the book's clock.
        """
        _, number = self._find(account)
        if number == _NONE:
            return ()
        found = []
        chain = self._accounts.get(number)[2]
        while chain != _NONE:
            packed, time, chain = self._sightings.get(chain)
            if now - time <= self._ttl:
                found.append(Sighting(unpack_address(packed), time))
        return tuple(found)

    def restore(self, account: str, sightings: Iterable[Sighting]) -> bool:
        """Put an account back that was noted in an earlier run.

        Call `sort` after the last one: until then the accounts have no order.

        Args:
            account: its name. The book does not know it yet.
            sightings: newest first. Those that are too many are left out.

        Returns:
            Whether there was a place, and there were sightings.
        """
        kept = tuple(sightings)[: self._addresses]
        place, number = self._find(account)
        if not kept or number != _NONE or self._count == self._limit:
            return False
        chain = _NONE
        for sighting in reversed(kept):
            chain = self._prepend(chain, *sighting)
        self._add(account, place, chain)
        return True

    def sort(self) -> None:
        """Bring the accounts into the order in which they were seen last.

        They are sorted in parts: a list of 100,000 numbers would take five megabytes, and
        CPython would keep them.
        """
        parts = []
        for start in range(0, len(self._index), _SORTED_AT_ONCE):
            part = [value - 1 for value in self._index[start : start + _SORTED_AT_ONCE] if value]
            parts.append(array("I", sorted(part, key=self._time_of)))
        self._newest = self._oldest = _NONE
        for number in heapq.merge(*parts, key=self._time_of):
            self._link_newest(number)

    def expire(self, now: float) -> None:
        """Forget a few of the accounts whose sightings are all too old.

        Args:
            now: seconds of the book's clock.
        """
        for _ in range(_FORGOTTEN_AT_ONCE):
            if self._oldest == _NONE or now - self._time_of(self._oldest) <= self._ttl:
                return
            self._forget(self._oldest)

    def horizon(self, now: float) -> float:
        """Return a time before which no account was seen last that the book still needs.

        The store may forget every account that was seen last before it.

        Args:
            now: seconds of the book's clock.
        """
        expired = now - self._ttl
        return max(expired, self._time_of(self._oldest)) if self._count == self._limit else expired

    def _prepend(self, chain: int, address: Address, now: float) -> int:
        """Put a sighting before a chain of sightings; return the first one of the new chain.

        The chain loses the same address, what is too old and what is too much.
        """
        packed = pack_address(address)
        kept: list[tuple[int, tuple[Any, ...]]] = []
        while chain != _NONE:
            record = self._sightings.get(chain)
            is_kept = (
                record[0] != packed
                and now - record[1] <= self._ttl
                and len(kept) < self._addresses - 1
            )
            if is_kept:
                kept.append((chain, record))
            else:
                self._sightings.give_back(chain)
            chain = record[2]
        following = _NONE
        for number, record in reversed(kept):
            self._sightings.put(number, *record[:2], following)
            following = number
        number = self._sightings.new()
        self._sightings.put(number, packed, now, following)
        return number

    def _fingerprint(self, account: str) -> tuple[int, int]:
        # The hash of CPython is SipHash. Its key is known if PYTHONHASHSEED is set.
        return hash(account + self._secret), hash(self._secret + account)

    def _find(self, account: str) -> tuple[int, int]:
        """Return the place of an account in the index, and its number or _NONE."""
        wanted = self._fingerprint(account)
        place = wanted[0] & self._last
        while self._index[place]:
            number = self._index[place] - 1
            if self._accounts.get(number)[:2] == wanted:
                return place, number
            place = place + 1 & self._last
        return place, _NONE

    def _add(self, account: str, place: int, chain: int) -> int:
        """Add an account that is linked nowhere yet; the oldest one goes if the book is full."""
        if self._count == self._limit:
            self._forget(self._oldest)
            self.evicted += 1
            place, _ = self._find(account)
        number = self._accounts.new()
        self._accounts.put(number, *self._fingerprint(account), chain, _NONE, _NONE)
        self._index[place] = number + 1
        self._count += 1
        return number

    def _forget(self, number: int) -> None:
        self._unlink(number)
        chain = self._accounts.get(number)[2]
        while chain != _NONE:
            following = self._sightings.get(chain)[2]
            self._sightings.give_back(chain)
            chain = following
        self._leave_index(number)
        self._accounts.give_back(number)
        self._count -= 1

    def _leave_index(self, number: int) -> None:
        """Take an account out, and close the gap so that every other account is still found.

        Source: Knuth, The Art of Computer Programming, volume 3, section 6.4, algorithm R.
        """
        gap = self._home(number)
        while self._index[gap] != number + 1:
            gap = gap + 1 & self._last
        place = gap
        while True:
            place = place + 1 & self._last
            value = self._index[place]
            if not value:
                break
            home = self._home(value - 1)
            if place - home & self._last >= place - gap & self._last:
                self._index[gap] = value
                gap = place
        self._index[gap] = 0

    def _home(self, number: int) -> int:
        home: int = self._accounts.get(number)[0]
        return home & self._last

    def _time_of(self, number: int) -> float:
        """Return when an account was seen last."""
        time: float = self._sightings.get(self._accounts.get(number)[2])[1]
        return time

    def _link_newest(self, number: int) -> None:
        first, second, chain, _, _ = self._accounts.get(number)
        self._accounts.put(number, first, second, chain, self._newest, _NONE)
        if self._newest == _NONE:
            self._oldest = number
        else:
            self._set_after(self._newest, number)
        self._newest = number

    def _unlink(self, number: int) -> None:
        _, _, _, before, after = self._accounts.get(number)
        if before == _NONE:
            self._oldest = after
        else:
            self._set_after(before, after)
        if after == _NONE:
            self._newest = before
        else:
            first, second, chain, _, last = self._accounts.get(after)
            self._accounts.put(after, first, second, chain, before, last)

    def _set_after(self, number: int, after: int) -> None:
        first, second, chain, before, _ = self._accounts.get(number)
        self._accounts.put(number, first, second, chain, before, after)


def pack_address(address: Address) -> bytes:
    """Return an address as 16 bytes; IPv4 in its IPv6 form.

    Args:
        address: of either family.
    """
    family, value = unmapped(address)
    return (value | _MAPPED if family is Family.IPV4 else value).to_bytes(_ADDRESS_BYTES, "big")


def unpack_address(packed: bytes) -> Address:
    """Return the address that `pack_address` has packed.

    Args:
        packed: 16 bytes.
    """
    return unmapped(Address(Family.IPV6, int.from_bytes(packed, "big")))
