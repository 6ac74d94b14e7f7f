"""The token bucket in one number, alone and by the thousand in bounded memory.

GCRA (ITU-T I.371, annex A, "virtual scheduling algorithm") keeps the theoretical
arrival time (TAT): when the next request would come if they came evenly. A request
conforms when the TAT is not too far ahead; it moves the TAT on by one increment. The
bucket holds `burst - (TAT - now) / increment` tokens, so a TAT in the past is a full one.

Why `Table` is set-associative and not an ordered dictionary with LRU eviction:

- memory: 17 bytes an entry, all of it at start, against some 170 that grow under
  attack; eight tables of 8192 entries take 1 MiB instead of 10;
- the smallest TAT is the entry that tells least. In the past it equals a source never
  seen, and forgetting it costs nothing; else it costs as few tokens as possible, and
  whoever wants one forgotten must have spent more than it from each of eight other sources.
  That takes a look at all eight; whatever is cheaper, such as forgetting who owes but one
  token, would let two sources that share a slot take turns and never owe more;
- a flooder that is being limited has a large TAT. It is not forgotten by being quiet
  for a while, as the least recently used entry would be.
"""

import math
import struct
from array import array
from collections import Counter, deque
from contextlib import suppress
from typing import Final, NamedTuple

__all__ = ["Bucket", "Refused", "Table"]

_WAYS: Final = 8
# Eight floats of an array, in less time than a slice of it takes.
_TATS_OF_SET: Final = struct.Struct(f"{_WAYS}d").unpack_from
_FLOAT: Final = struct.calcsize("d")
# The largest prime below 256: regular addresses differ in what is left over by it.
_HINTS: Final = 251
_MASK64: Final = (1 << 64) - 1
# ffff:ffff:ffff:ffff::/64 is multicast, hence never a source: it marks a free slot.
_FREE: Final = _MASK64
# 2**64 divided by the golden ratio, an odd number of no special merit: it spreads small seeds.
_SPREAD: Final = 0x9E3779B97F4A7C15
# Refusals remembered. Debts do not tell who knocks most: a refused request costs
# nothing, so all who knock without end are equally short of one token.
_REMEMBERED: Final = 64
# A TAT is a sum of rounded increments: without a thousandth of a token to spare, the
# last request of a burst would be refused at some times and not at others.
_SLACK: Final = 1 / 1024


class Bucket:
    """One token bucket, full at the beginning.

    Args:
        rate: tokens a second.
        burst: tokens it holds at most.

    Raises:
        ValueError: the rate is not a positive, finite number, or the burst is below 1.
    """

    __slots__ = ("_increment", "_tat", "_tolerance")

    def __init__(self, rate: float, burst: int) -> None:
        self._increment, self._tolerance = _increment_and_tolerance(rate, burst)
        self._tat = -math.inf

    def take(self, now: float, cost: float = 1.0) -> bool:
        """Take tokens, or none when there are too few.

        Args:
            now: monotonic time in seconds.
            cost: how many tokens, in parts of one if need be.

        Returns:
            Whether they were there.
        """
        # Written out, for `max` would be half as fast where every connection passes.
        tat = (self._tat if self._tat > now else now) + cost * self._increment  # noqa: FURB136
        if tat > now + self._tolerance:
            # Only after time ran backwards is this the lesser: the bucket is empty, not more.
            self._tat = min(self._tat, now + self._tolerance)
            return False
        self._tat = tat
        return True


class Refused(NamedTuple):
    """A prefix without a token that was refused of late.

    Attributes:
        source: its lowest address.
        times: how many of the table's last refusals were its own.
        wait: seconds until it has a token again.
    """

    source: int
    times: int
    wait: float


class Table:
    """A bucket for each source prefix it knows, in two flat arrays that never grow.

    A key's own slot is the top bits of `key * multiplier` modulo 2**64, the multiplier odd and
    secret; all but the last three of these bits name the set of eight slots that it may be in.
    With this hash (Dietzfelbinger and others, 1997, "multiply-shift") any two keys share a set
    with a probability of at most 2 / sets, so nobody can choose addresses that crowd one set
    without knowing the multiplier; and whoever crowds one all the same only spends more tokens
    than it makes us forget.

    Args:
        shift: how many low bits of a source do not count; at most 64 bits may remain.
        capacity: entries it holds; rounded up to a power of two, 8 at least.
        seed: 64 random bits, secret.
        rate: tokens a second, for each prefix.
        burst: tokens a prefix holds at most.

    Attributes:
        capacity: entries it can hold.
        entries: slots in use.
        evictions: entries that gave way while they still meant something (TAT > now).

    Raises:
        ValueError: the rate is not a positive, finite number, or a count is below 1.
    """

    __slots__ = (
        "_ceiling", "_down", "_find", "_hints", "_increment", "_index", "_key", "_keys", "_last",
        "_multiplier", "_refused", "_shift", "_slot", "_tat", "_tats", "_tolerance",
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
        self._down = 64 - bits
        self._last = self.capacity - 1
        self._increment, self._tolerance = _increment_and_tolerance(rate, burst)
        self._ceiling = 2 * burst / rate
        self._keys = array("Q", [_FREE]) * self.capacity
        self._tats = array("d", [-math.inf]) * self.capacity
        self._index = self._keys.index
        # A byte of each key, nearly always enough to see that a set does not have one.
        self._hints = bytearray(self.capacity)
        self._find = self._hints.find
        self._refused: deque[int] = deque(maxlen=_REMEMBERED)
        self._slot, self._key, self._tat = 0, _FREE, -math.inf

    def key(self, source: int) -> int:
        """Find what a source is known by.

        Args:
            source: an address as an integer.

        Returns:
            Its prefix, without the bits that do not count.
        """
        return source >> self._shift

    def test(self, source: int, now: float) -> bool:
        """Say whether a source has a token, and make ready to `commit`, but take nothing.

        Two steps, so that several tables can all be asked before one of them pays.

        Args:
            source: an address.
            now: monotonic time in seconds.

        Returns:
            Whether there is one. A source not known has all of its burst.
        """
        known = self._locate(source, now)
        # Written out as in `Bucket.take`.
        self._tat = tat = (known if known > now else now) + self._increment  # noqa: FURB136
        if tat <= now + self._tolerance:
            return True
        self._mend(known, now)
        self._refused.append(self._key)
        return False

    def commit(self, now: float) -> None:
        """Take the token that `test` found, in the last call to this table.

        Args:
            now: monotonic time in seconds.
        """
        slot = self._slot
        if self._keys[slot] != self._key:
            self._replace(slot, now)
        self._tats[slot] = self._tat

    def penalize(self, source: int, now: float, cost: float) -> None:
        """Take tokens the source need not have, into a debt of one burst at most.

        Args:
            source: an address.
            now: monotonic time in seconds.
            cost: how many tokens.
        """
        tat = max(self._locate(source, now), now) + cost * self._increment
        self._tat = min(tat, now + self._ceiling)
        self.commit(now)

    def refused(self, now: float) -> list[Refused]:
        """Say who was refused of late and would be now.

        It asks for those alone, at most as many as are remembered: what this costs does not
        depend on how large the table is, so that nobody can keep us busy by asking.

        Args:
            now: monotonic time in seconds.

        Returns:
            They, in no order.
        """
        found = []
        for key, times in Counter(self._refused).items():
            source = key << self._shift
            wait = self._locate(source, now) + self._increment - now - self._tolerance
            if wait > 0:
                found.append(Refused(source, times, wait))
        return found

    def _locate(self, source: int, now: float) -> float:
        """Find the source's slot, else the one that would give way to it; return its TAT."""
        self._key = key = source >> self._shift
        # Its own slot, unless somebody had it first: all there is to do for nearly everybody.
        slot = key * self._multiplier >> self._down & self._last
        if self._keys[slot] != key:
            return self._search(key, slot, now)
        self._slot = slot
        return self._tats[slot]

    def _search(self, key: int, slot: int, now: float) -> float:
        """Look at the other slots of the set that the key's own slot is in."""
        first = slot & -_WAYS
        if self._find(key % _HINTS, first, first + _WAYS) >= 0:
            with suppress(ValueError):  # another key with this hint
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

    def _mend(self, known: float, now: float) -> None:
        """Bound the silence of a refused source; only needed after time ran backwards."""
        if known > now + self._ceiling:
            self._tats[self._slot] = now + self._ceiling


def _increment_and_tolerance(rate: float, burst: int) -> tuple[float, float]:
    """Return how far one request moves the TAT, and how far ahead it may then be, in seconds."""
    if not 0 < rate < math.inf or burst < 1:
        raise ValueError(f"rate {rate}, burst {burst}: a positive number, and 1 at least")
    return 1 / rate, (burst + _SLACK) / rate
