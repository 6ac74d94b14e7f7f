"""What the status tells of the rings so far: accounts, targets, and how long it took.

Bounded: it remembers the accounts and the targets that were rung last. Targets that were out
of reach have places of their own, so that a busy sender still names them. Pure: it gets rings
and the time.
"""

import math
from collections import OrderedDict
from collections.abc import Callable
from typing import Final, TypeVar

from mailbell.core.sender_outcome import RingOutcome
from mailbell.core.target import Target
from mailbell.interfaces.sender_status import RECENT, Account, Latency, TargetState
from mailbell.sender._ring import Ring

__all__ = ["Delays", "Recent"]

# Nothing was tried at the target.
_NO_ATTEMPT: Final = {
    RingOutcome.COALESCED,
    RingOutcome.BACKING_OFF,
    RingOutcome.NO_TARGET,
    RingOutcome.EXPIRED,
}

# One bucket ends where the next one begins, a fifth higher.
_STEP: Final = 1.2
_BUCKETS: Final = 160  # the last one begins after about 50 days

_Key = TypeVar("_Key")
_Row = TypeVar("_Row")


class Delays:
    """Counts how long something took, and tells the median and the 99th percentile.

    It keeps a number for each range of times, and no time itself. A range ends a fifth
    above its beginning, so what it tells is at most a fifth too high.
    """

    def __init__(self) -> None:
        self._counts = [0] * _BUCKETS
        self.count = 0

    def add(self, seconds: float) -> None:
        """Count one.

        Args:
            seconds: how long it took.
        """
        microseconds = max(seconds * 1e6, 1.0)
        bucket = math.ceil(math.log(microseconds, _STEP))
        self._counts[min(bucket, _BUCKETS - 1)] += 1
        self.count += 1

    def quantile(self, share: float) -> int | None:
        """Return a time that this share of all did not exceed.

        Args:
            share: more than 0, at most 1.

        Returns:
            Microseconds; None: nothing was counted.
        """
        wanted = math.ceil(share * self.count)
        passed = 0
        for bucket, count in enumerate(self._counts):
            passed += count
            if wanted and passed >= wanted:
                return math.ceil(_STEP**bucket)
        return None


class _AccountRow:
    __slots__ = ("at", "last", "rings")

    def __init__(self) -> None:
        self.rings = 0
        self.last = RingOutcome.SENT
        self.at = 0.0


class _TargetRow:
    __slots__ = ("at", "attempts", "last", "sent", "took")

    def __init__(self) -> None:
        self.attempts = 0
        self.sent = 0
        self.last = RingOutcome.SENT
        self.at = 0.0
        self.took = 0.0


class Recent:
    """The rings so far."""

    def __init__(self) -> None:
        self._delays = Delays()
        self._accounts: OrderedDict[str, _AccountRow] = OrderedDict()
        self._reached: OrderedDict[Target, _TargetRow] = OrderedDict()
        self._out_of_reach: OrderedDict[Target, _TargetRow] = OrderedDict()

    def note(self, ring: Ring, now: float) -> None:
        """Note one ring.

        Args:
            ring: what happened.
            now: the time in seconds, of a clock that does not jump.
        """
        if ring.outcome is RingOutcome.SENT:
            self._delays.add(ring.waited)
        account = self._accounts.pop(ring.account, None) or _AccountRow()
        account.rings += 1
        account.last, account.at = ring.outcome, now
        _keep(self._accounts, ring.account, account, RECENT)
        if ring.target is not None and ring.outcome not in _NO_ATTEMPT:
            self._note_attempt(ring.target, ring, now)

    def _note_attempt(self, target: Target, ring: Ring, now: float) -> None:
        row = (
            self._reached.pop(target, None) or self._out_of_reach.pop(target, None) or _TargetRow()
        )
        sent = ring.outcome is RingOutcome.SENT
        row.attempts += 1
        row.sent += sent
        row.last, row.at, row.took = ring.outcome, now, ring.milliseconds
        _keep(self._reached if sent else self._out_of_reach, target, row, RECENT // 2)

    def accounts(self, now: float) -> tuple[Account, ...]:
        """Return the accounts that were rung last.

        Args:
            now: the time, as for `note`.

        Returns:
            At most `RECENT`, the latest first.
        """
        return tuple(
            Account(name=name, rings=row.rings, last=row.last, age=_microseconds(now - row.at))
            for name, row in reversed(self._accounts.items())
        )

    def targets(
        self, now: float, back_off: Callable[[Target], float | None]
    ) -> tuple[TargetState, ...]:
        """Return the targets that were tried last.

        Args:
            now: the time, as for `note`.
            back_off: returns when a target is tried again, a time as for `note`; None: it
                does not back off.

        Returns:
            At most `RECENT`, the latest first. Half of the places are for those that were
            out of reach.
        """
        rows = [*self._reached.items(), *self._out_of_reach.items()]
        rows.sort(key=lambda pair: pair[1].at, reverse=True)
        return tuple(_state(target, row, now, back_off(target)) for target, row in rows)

    def latency(self) -> Latency:
        """Return how long the notifications took."""
        delays = self._delays
        return Latency(count=delays.count, p50=delays.quantile(0.5), p99=delays.quantile(0.99))


def _state(target: Target, row: _TargetRow, now: float, until: float | None) -> TargetState:
    return TargetState(
        target=str(target),
        attempts=row.attempts,
        sent=row.sent,
        last=row.last,
        age=_microseconds(now - row.at),
        took=int(row.took * 1000),
        wait=None if until is None else _microseconds(until - now),
    )


def _microseconds(seconds: float) -> int:
    return max(int(seconds * 1e6), 0)


def _keep(rows: OrderedDict[_Key, _Row], key: _Key, row: _Row, most: int) -> None:
    """Put a row at the end, and forget the oldest one if there are too many."""
    rows[key] = row
    if len(rows) > most:
        rows.popitem(last=False)
