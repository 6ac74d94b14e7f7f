"""Turns many notifications into few wake-ups: one at once, then at most one an interval.

RFC 4146, section 5, warns of floods. A mail server may also limit how often a user may
look for mail (LOGIN-DELAY, RFC 2449), so needless fetches do harm on both sides.
This module makes two promises for any sequence of times:

- Each notification is followed by a wake-up within one interval, if the caller calls
  `tick` at `due`. The last notification of a burst is never lost.
- Two wake-ups are never closer than the interval.

Both hold exactly, although the times are floating-point numbers, because one number decides
both: `previous wake-up + interval`, rounded once. Addition rounds monotonically. A
notification at or after the previous wake-up therefore never has a smaller `notification +
interval`. A comparison of the difference (`now - previous >= interval`) rounds a second time.
For some times it rounds the other way, and a `tick` at exactly `due` then delivers nothing.
"""

import math

__all__ = ["Coalescer"]


class Coalescer:
    """Decides when to wake the subscribers of one account.

    Args:
        interval: the least time between two wake-ups, in seconds.

    Attributes:
        held_back: how many notifications wait for `tick`.
        next: the earliest time of the next wake-up, in seconds.

    Raises:
        ValueError: the interval is not a positive, finite number.
    """

    __slots__ = ("_interval", "held_back", "next")

    def __init__(self, interval: float) -> None:
        if not 0 < interval < math.inf:
            raise ValueError(f"interval {interval}: a positive number of seconds is needed")
        self._interval = interval
        self.next = -math.inf
        self.held_back = 0

    @property
    def due(self) -> float | None:
        """When the caller must call `tick` next; None while nothing is held back."""
        return self.next if self.held_back else None

    def merge(self, now: float) -> bool:
        """Hold one notification back, if others are held back already and it is not time yet.

        Args:
            now: monotonic time in seconds.

        Returns:
            Whether it was held back. If not, `ring` takes it.
        """
        if self.held_back and now < self.next <= now + self._interval:
            self.held_back += 1
            return True
        return False

    def ring(self, now: float, count: int = 1) -> int:
        """Note accepted notifications.

        Args:
            now: monotonic time in seconds.
            count: how many came at this moment.

        Returns:
            How many notifications to deliver now, in one wake-up. 0: held back until `due`.
        """
        self.held_back += count
        return self.tick(now)

    def tick(self, now: float) -> int:
        """Release what was held back, if it is time. A call too early or too late does no harm.

        Args:
            now: monotonic time in seconds.

        Returns:
            How many notifications to deliver now, in one wake-up. 0: none.
        """
        # If time ran backwards, nothing may be held back for longer than one interval.
        self.next = min(self.next, now + self._interval)
        if not self.held_back or now < self.next:
            return 0
        count, self.held_back = self.held_back, 0
        self.next = now + self._interval
        return count
