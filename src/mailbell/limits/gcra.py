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
from contextlib import suppress
from typing import Final, NamedTuple

__all__ = ["Bucket", "BucketTable", "OwnBucket", "Refused"]

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


class OwnBucket(Bucket):
    """The bucket of one network that the operator named. No other source can displace it.

    It has the methods of a `BucketTable`, which a source's other limits may have.

    Args:
        rate: tokens a second.
        burst: the most tokens it holds.
        refusals: gets this bucket with each refusal. Its length must be bounded.

    Raises:
        ValueError: the rate is not a positive, finite number, or the burst is below 1.
    """

    __slots__ = ("_ceiling", "_next", "_refusals")

    def __init__(self, rate: float, burst: int, refusals: "deque[OwnBucket]") -> None:
        super().__init__(rate, burst)
        self._ceiling = 2 * burst / rate
        self._next = -math.inf
        self._refusals = refusals

    def test(self, source: int, now: float) -> bool:
        """Tell whether there is a token. Prepare `commit`, but take nothing yet.

        Args:
            source: an address of the network; it makes no difference which.
            now: monotonic time in seconds.
        """
        del source
        self._next = tat = max(self._tat, now) + self._increment
        if tat <= now + self._tolerance:
            return True
        self._tat = min(self._tat, now + self._ceiling)  # matters only after time ran backwards
        self._refusals.append(self)
        return False

    def commit(self, now: float) -> None:
        """Take the token that the last call of `test` found.

        Args:
            now: monotonic time in seconds.
        """
        del now
        self._tat = self._next

    def penalize(self, source: int, now: float, cost: float) -> None:
        """Take tokens that the source may not have. Its debt is at most one burst.

        Args:
            source: an address of the network; it makes no difference which.
            now: monotonic time in seconds.
            cost: how many tokens.
        """
        del source
        self._tat = min(max(self._tat, now) + cost * self._increment, now + self._ceiling)

    def wait(self, now: float) -> float:
        """Return how many seconds pass until there is a token; not positive: there is one.

        Args:
            now: monotonic time in seconds.
        """
        return self._tat + self._increment - now - self._tolerance


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

    Raises:
        ValueError: the rate is not a positive, finite number, or a count is below 1.
    """

    __slots__ = (
        "_ceiling", "_down", "_find", "_fold", "_hints", "_increment", "_index", "_key", "_keys",
        "_last", "_multiplier", "_refused", "_shift", "_slot", "_tat", "_tats", "_tolerance",
        "capacity", "entries", "evictions",
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
        self._increment, self._tolerance = _increment_and_tolerance(rate, burst)
        self._ceiling = 2 * burst / rate
        self._keys = array("Q", [_FREE]) * self.capacity
        self._tats = array("d", [-math.inf]) * self.capacity
        self._index = self._keys.index
        # One byte of each key. It nearly always suffices to see that a set lacks a key.
        self._hints = bytearray(self.capacity)
        self._find = self._hints.find
        self._refused: deque[int] = deque(maxlen=_REMEMBERED)
        self._slot, self._key, self._tat = 0, _FREE, -math.inf

    def test(self, source: int, now: float) -> bool:
        """Tell whether a source has a token. Prepare `commit`, but take nothing yet.

        There are two steps so that several tables can be asked before any of them pays.

        Args:
            source: an address.
            now: monotonic time in seconds.

        Returns:
            Whether it has a token. An unknown source has a full bucket.
        """
        known = self._locate(source, now)
        # Not `max`, for speed, as in `Bucket.take`.
        self._tat = tat = (known if known > now else now) + self._increment  # noqa: FURB136
        if tat <= now + self._tolerance:
            return True
        self._limit_wait(known, now)
        self._refused.append(source >> self._shift)
        return False

    def commit(self, now: float) -> None:
        """Take the token that the last call of `test` on this table found.

        Args:
            now: monotonic time in seconds.
        """
        slot = self._slot
        if self._keys[slot] != self._key:
            self._replace(slot, now)
        self._tats[slot] = self._tat

    def penalize(self, source: int, now: float, cost: float) -> None:
        """Take tokens that the source may not have. Its debt is at most one burst.

        Args:
            source: an address.
            now: monotonic time in seconds.
            cost: how many tokens.
        """
        tat = max(self._locate(source, now), now) + cost * self._increment
        self._tat = min(tat, now + self._ceiling)
        self.commit(now)

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
            wait = self._locate(source, now) + self._increment - now - self._tolerance
            if wait > 0:
                found.append(Refused(source, times, wait))
        return found

    def _locate(self, source: int, now: float) -> float:
        """Find the source's slot, or the slot it would take. Return the TAT of the source."""
        key = source >> self._shift
        if key > _MASK64:
            key = (key * self._fold & _MASK128) >> 64
        self._key = key
        # Its own slot, unless another key took it first. Nearly every call ends here.
        slot = key * self._multiplier >> self._down & self._last
        if self._keys[slot] != key:
            return self._search(key, slot, now)
        self._slot = slot
        return self._tats[slot]

    def _search(self, key: int, slot: int, now: float) -> float:
        """Look in the other slots of the key's set."""
        first = slot & -_WAYS
        if self._find(key % _HINTS, first, first + _WAYS) >= 0:
            with suppress(ValueError):  # the hint belongs to another key
                self._slot = slot = self._index(key, first, first + _WAYS)
                return self._tats[slot]
        if self._tats[slot] > now:
            tats = _TATS_OF_SET(self._tats, first * _FLOAT)
            slot = first + tats.index(min(tats))
        self._slot = slot
        return -math.inf

    def _replace(self, slot: int, now: float) -> None:
        if self._tats[slot] > now:
            self.evictions += 1
        elif self._keys[slot] == _FREE:
            self.entries += 1
        self._keys[slot] = self._key
        self._hints[slot] = self._key % _HINTS

    def _limit_wait(self, known: float, now: float) -> None:
        """Limit how long a refused source must wait. It matters only after time ran backwards."""
        if known > now + self._ceiling:
            self._tats[self._slot] = now + self._ceiling


def _increment_and_tolerance(rate: float, burst: int) -> tuple[float, float]:
    """Return how far a request moves the TAT, and how far ahead the TAT may be, in seconds."""
    if not 0 < rate < math.inf or burst < 1:
        raise ValueError(f"rate {rate}, burst {burst}: a positive number, and 1 at least")
    return 1 / rate, (burst + _SLACK) / rate
