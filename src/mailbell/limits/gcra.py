"""A token bucket held in one number, and tables of many buckets in bounded memory.

GCRA (ITU-T I.371, annex A, "virtual scheduling algorithm") keeps the theoretical arrival
time (TAT): the time of the next request if requests came evenly. A request conforms if
the TAT is not too far ahead of now. Each request moves the TAT on by one increment. The
bucket holds `burst - (TAT - now) / increment` tokens, so a TAT in the past is a full bucket.

`BucketTable` is set-associative. An ordered dictionary with LRU eviction is worse for three
reasons:

- Memory. `BucketTable` takes 17 bytes an entry, all of it at start. The dictionary takes some 170
  bytes an entry and grows under attack. Eight tables of 8192 entries take 1 MiB, not 10.
- What is forgotten. `BucketTable` forgets the smallest TAT of eight. If that TAT is in the past,
  the entry equals that of a new source, and nothing is lost. Otherwise it is the entry that
  spent the fewest tokens. An attacker who wants it forgotten must spend more than that from
  each of eight other sources. All eight must be compared for this. A cheaper rule, such as to
  forget a source that lacks only one token, lets two sources that share a slot take turns
  and never run out of tokens.
- Patience. A flooding source that is being limited has a large TAT, so a quiet while does not
  make the table forget it. LRU forgets exactly such a source.
"""

import math
import struct
from array import array
from collections import Counter, deque
from collections.abc import Sequence
from contextlib import suppress
from typing import Final, NamedTuple

import msgspec

__all__ = ["Bucket", "BucketTable", "Entry", "OwnBucket", "Refused", "commit", "test"]

_WAYS: Final = 8
# Reads eight floats of an array at once. It is faster than a slice of the array.
_TATS_OF_SET: Final = struct.Struct(f"{_WAYS}d").unpack_from
_FLOAT: Final = struct.calcsize("d")
# The largest prime below 256. Addresses at regular distances differ in their remainder by it.
_HINTS: Final = 251
_MASK64: Final = (1 << 64) - 1
_MASK128: Final = (1 << 128) - 1
# ffff:ffff:ffff:ffff::/64 is multicast, so it is never a source. It marks a free slot.
_FREE: Final = _MASK64
# 2**64 divided by the golden ratio. Any large odd number would do: it spreads small seeds.
_SPREAD: Final = 0x9E3779B97F4A7C15
_SPREAD128: Final = 0x9E3779B97F4A7C15F39CC0605CEDC835  # nearest odd number to 2**128 divided by it
# How many refusals are remembered. The debts do not show which source asks most: a refused
# request costs nothing, so all sources that ask without pause lack one token alike.
_REMEMBERED: Final = 64
# A TAT is a sum of rounded increments. Without a thousandth of a token in reserve, the last
# request of a burst would be refused at some times and admitted at others.
_SLACK: Final = 1 / 1024


class Bucket:
    """One token bucket, full at first.

    Args:
        rate: tokens a second.
        burst: the most tokens it holds.

    Raises:
        ValueError: the rate is not a positive, finite number, or the burst is below 1.
    """

    __slots__ = ("_increment", "_tat", "_tolerance")

    def __init__(self, rate: float, burst: int) -> None:
        self._increment, self._tolerance = _increment_and_tolerance(rate, burst)
        self._tat = -math.inf

    def take(self, now: float, cost: float = 1.0, reserve: float = 0.0) -> bool:
        """Take tokens, or none if there are too few.

        Args:
            now: monotonic time in seconds.
            cost: how many tokens; it may be a fraction.
            reserve: how many tokens must be left, for callers that need them more.

        Returns:
            Whether there were enough tokens.
        """
        # Not `max`, which would halve the speed here, where every connection passes.
        tat = (self._tat if self._tat > now else now) + cost * self._increment  # noqa: FURB136
        if tat > now + self._tolerance - reserve * self._increment:
            # `now + tolerance` is less only after time ran backwards. The bucket is then empty.
            self._tat = min(self._tat, now + self._tolerance)
            return False
        self._tat = tat
        return True


class OwnBucket:
    """The bucket of one network that the operator named. No other source can displace it.

    It is a table with one slot, which is that of each of the network's addresses.

    Args:
        rate: tokens a second.
        burst: the most tokens it holds.
        refusals: gets this bucket with each refusal. Its length must be bounded.

    Raises:
        ValueError: the rate is not a positive, finite number, or the burst is below 1.
    """

    __slots__ = ("_entry", "_refusals", "ceiling", "increment", "keys", "tats", "tolerance")

    def __init__(self, rate: float, burst: int, refusals: "deque[OwnBucket]") -> None:
        self.increment, self.tolerance = _increment_and_tolerance(rate, burst)
        self.ceiling = 2 * burst / rate
        self.keys = array("Q", [0])
        self.tats = array("d", [-math.inf])
        self._entry = Entry(self, 0, 0, 0)  # type: ignore[arg-type]  # see there
        self._refusals = refusals

    def entry(self, source: int) -> "Entry":
        """Return the bucket of an address of the network. It is the same for all of them.

        Args:
            source: an address of the network.
        """
        del source
        return self._entry

    def note_refusal(self, prefix: int) -> None:
        """Note that one of the addresses was refused.

        Args:
            prefix: what `Entry` has; there is one only.
        """
        del prefix
        self._refusals.append(self)

    def wait(self, now: float) -> float:
        """Return how many seconds pass until there is a token; not positive: there is one.

        Args:
            now: monotonic time in seconds.
        """
        return self._entry.locate(now) + self.increment - now - self.tolerance


class Refused(NamedTuple):
    """A prefix that has no token and was refused recently.

    Attributes:
        source: its lowest address.
        times: how many of the table's last refusals were its own.
        wait: seconds until it has a token again.
    """

    source: int
    times: int
    wait: float


class BucketTable:
    """A token bucket for each source prefix it knows, in two flat arrays that never grow.

    A key's own slot is the top bits of `key * multiplier` modulo 2**64, where the multiplier is
    odd and secret. All of these bits but the last three name the key's set of eight slots. With
    this hash (Dietzfelbinger and others, 1997, "multiply-shift") two keys share a set with a
    probability of at most 2 / sets. So an attacker who does not know the multiplier cannot
    choose addresses that crowd one set. An attacker who crowds a set by chance only spends more
    tokens than the table forgets.

    A prefix of more than 64 bits is first folded into 64 in the same way: the upper half of
    its product with another secret odd number. Two prefixes that fold alike share a bucket.
    Without the secret an attacker cannot find a prefix that folds like that of a sender.

    Args:
        shift: how many low bits of a source are ignored; at most 128 bits may remain.
        capacity: entries it can hold; rounded up to a power of two, at least 8.
        seed: 64 random bits, secret.
        rate: tokens a second, for each prefix.
        burst: the most tokens a prefix holds.

    Attributes:
        capacity: entries it can hold.
        entries: slots in use.
        evictions: entries that were forgotten before their bucket was full (TAT > now).
        keys: the key of each slot, for `Entry`.
        hints: one byte of each key, for `Entry`.
        tats: the TAT of each slot, for `Entry`.
        increment: how far a request moves the TAT, in seconds.
        tolerance: how far ahead the TAT of an admitted request may be, in seconds.
        ceiling: how far ahead any TAT may be, in seconds.

    Raises:
        ValueError: the rate is not a positive, finite number, or a count is below 1.
    """

    __slots__ = (
        "_down", "_entry", "_find", "_fold", "_index", "_last", "_multiplier", "_refused",
        "_shift", "capacity", "ceiling", "entries", "evictions", "hints", "increment", "keys",
        "tats", "tolerance",
    )  # fmt: skip

    def __init__(self, shift: int, capacity: int, seed: int, rate: float, burst: int) -> None:
        if capacity < 1:
            raise ValueError(f"capacity {capacity}: 1 at least")
        bits = max(capacity - 1, _WAYS - 1).bit_length()
        self.capacity = 1 << bits
        self.entries = 0
        self.evictions = 0
        self._shift = shift
        self._multiplier = seed * _SPREAD & _MASK64 | 1
        self._fold = (seed + 1) * _SPREAD128 & _MASK128 | 1
        self._down = 64 - bits
        self._last = self.capacity - 1
        self.increment, self.tolerance = _increment_and_tolerance(rate, burst)
        self.ceiling = 2 * burst / rate
        self.keys = array("Q", [_FREE]) * self.capacity
        self.tats = array("d", [-math.inf]) * self.capacity
        self._index = self.keys.index
        # One byte of each key. It nearly always suffices to see that a set lacks a key.
        self.hints = bytearray(self.capacity)
        self._find = self.hints.find
        self._refused: deque[int] = deque(maxlen=_REMEMBERED)
        self._entry = self.entry(0)

    def entry(self, source: int) -> "Entry":
        """Return the bucket of a source. It can be asked for as long as the table exists.

        Args:
            source: an address.
        """
        key = prefix = source >> self._shift
        if key > _MASK64:
            key = (key * self._fold & _MASK128) >> 64
        # Its own slot, unless another key takes it first.
        return Entry(self, prefix, key, key * self._multiplier >> self._down & self._last)

    def test(self, source: int, now: float) -> bool:
        """Tell whether a source has a token: see the function `test`.

        Args:
            source: an address.
            now: monotonic time in seconds.
        """
        self._entry = self.entry(source)
        return test((self._entry,), now)

    def commit(self, now: float) -> None:
        """Take the token that the last call of `test` on this table found.

        Args:
            now: monotonic time in seconds.
        """
        commit((self._entry,), now)

    def penalize(self, source: int, now: float, cost: float) -> None:
        """Take tokens that a source may not have: see `Entry.penalize`.

        Args:
            source: an address.
            now: monotonic time in seconds.
            cost: how many tokens.
        """
        self.entry(source).penalize(now, cost)

    def refused(self, now: float) -> list[Refused]:
        """Return the sources that were refused recently and would be refused now.

        Only remembered refusals are looked up. So the cost does not depend on the size of the
        table, and a peer cannot keep the daemon busy with this question.

        Args:
            now: monotonic time in seconds.

        Returns:
            The sources, in no order.
        """
        found = []
        for prefix, times in Counter(self._refused).items():
            source = prefix << self._shift
            wait = self.entry(source).locate(now) + self.increment - now - self.tolerance
            if wait > 0:
                found.append(Refused(source, times, wait))
        return found

    def find(self, key: int, slot: int, now: float) -> int:
        """Return the slot of a key that is not where it was looked for first.

        Args:
            key: the key of a source.
            slot: one slot of its set, which it takes if nobody needs that any more.
            now: monotonic time in seconds.

        Returns:
            The slot that has the key; if none has, the slot that it would take.
        """
        first = slot & -_WAYS
        if self._find(key % _HINTS, first, first + _WAYS) >= 0:
            with suppress(ValueError):  # the hint belongs to another key
                return self._index(key, first, first + _WAYS)
        tats = self.tats
        if tats[slot] <= now:
            return slot
        of_set = _TATS_OF_SET(tats, first * _FLOAT)
        return first + of_set.index(min(of_set))

    def note_refusal(self, prefix: int) -> None:
        """Note that a source was refused.

        Args:
            prefix: the part of its address that counts.
        """
        self._refused.append(prefix)


class Entry(msgspec.Struct, eq=False):
    """The bucket of one source in a table: found once, and asked for each of its requests.

    The table may give the slot to another source meanwhile. So it is looked at each time.

    Attributes:
        table: the table.
        prefix: the part of the source's address that counts.
        key: what stands for it in the table.
        slot: where its bucket is, or would be.
        next: the TAT that `commit` sets.
    """

    table: BucketTable  # or an `OwnBucket`, whose only slot always has the key
    prefix: int
    key: int
    slot: int
    next: float = 0.0

    def penalize(self, now: float, cost: float) -> None:
        """Take tokens that the source may not have. Its debt is at most one burst.

        Args:
            now: monotonic time in seconds.
            cost: how many tokens.
        """
        tat = max(self.locate(now), now) + cost * self.table.increment
        self.next = min(tat, now + self.table.ceiling)
        commit((self,), now)

    def locate(self, now: float) -> float:
        """Find the source's slot, or the slot that it would take.

        Args:
            now: monotonic time in seconds.

        Returns:
            When its bucket is full again (TAT); minus infinity: the source is not known.
        """
        table, key, slot = self.table, self.key, self.slot
        if table.keys[slot] != key:
            self.slot = slot = table.find(key, slot, now)
            if table.keys[slot] != key:
                return -math.inf
        return table.tats[slot]

    def refuse(self, known: float, now: float) -> None:
        """Note that the source has no token.

        Args:
            known: when its bucket is full again (TAT).
            now: monotonic time in seconds.
        """
        table = self.table
        if known > now + table.ceiling:  # only after time ran backwards
            table.tats[self.slot] = now + table.ceiling
        table.note_refusal(self.prefix)


def test(entries: Sequence[Entry], now: float) -> bool:
    """Tell whether each of some buckets has a token. Prepare `commit`, but take nothing yet.

    There are two steps so that none of the buckets pays if another one has no token. Every
    notification passes here. So both steps are plain loops, without a call for each bucket.

    Args:
        entries: the buckets of one source. An unknown source has full buckets.
        now: monotonic time in seconds.
    """
    for entry in entries:
        table, slot = entry.table, entry.slot
        if table.keys[slot] == entry.key:  # as `locate`, without a call
            known = table.tats[slot]
        else:
            entry.slot = slot = table.find(entry.key, slot, now)
            known = table.tats[slot] if table.keys[slot] == entry.key else -math.inf
        # Not `max`, for speed, as in `Bucket.take`.
        entry.next = tat = (known if known > now else now) + table.increment  # noqa: FURB136
        if tat > now + table.tolerance:
            entry.refuse(known, now)
            return False
    return True


def commit(entries: Sequence[Entry], now: float) -> None:
    """Take the tokens that the last call of `test` found.

    Args:
        entries: as given to `test`.
        now: monotonic time in seconds.
    """
    for entry in entries:
        table, slot = entry.table, entry.slot
        if table.keys[slot] != entry.key:  # another source has the slot, or none
            if table.tats[slot] > now:
                table.evictions += 1
            elif table.keys[slot] == _FREE:
                table.entries += 1
            table.keys[slot] = entry.key
            table.hints[slot] = entry.key % _HINTS
        table.tats[slot] = entry.next


def _increment_and_tolerance(rate: float, burst: int) -> tuple[float, float]:
    """Return how far a request moves the TAT, and how far ahead the TAT may be, in seconds."""
    if not 0 < rate < math.inf or burst < 1:
        raise ValueError(f"rate {rate}, burst {burst}: a positive number, and 1 at least")
    return 1 / rate, (burst + _SLACK) / rate
