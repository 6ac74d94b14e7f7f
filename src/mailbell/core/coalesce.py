"""Many notifications, few wake-ups: at once, then at most one in each interval.

RFC 4146, section 5, warns of floods, and a mail server may limit how often a
user may look for mail (LOGIN-DELAY, RFC 2449), so a storm of fetches hurts twice.
Two promises hold for any sequence of times:

- every ring is covered by a wake-up no later than one interval after it, as long
  as `tick` is called at `due`: the last ring is never lost;
- no two wake-ups are closer than the interval.

Both are exact in floating point, not just nearly so, because one number decides both:
`previous wake-up + interval`, rounded once. Addition rounds monotonically, so a ring that is
no earlier than the wake-up before it cannot have `ring + interval` fall below that
number. Comparing a difference (`now - previous >= interval`) would round a second time,
the other way for some times, and a tick at exactly `due` would then deliver nothing.
"""

import math

__all__ = ["Coalescer"]


class Coalescer:
    """When to wake the subscribers of one account.

    Args:
        interval: the least time between two wake-ups, in seconds.

    Attributes:
        held_back: how many notifications wait for `tick`.
        next: no wake-up comes before this time, in seconds.

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
        """When `tick` is to be called next; None while nothing is held back."""
        return self.next if self.held_back else None

    def ring(self, now: float) -> int:
        """Note one accepted notification.

        Args:
            now: monotonic time in seconds.

        Returns:
            How many notifications to deliver now, in one wake-up; 0: held back until `due`.
        """
        self.held_back += 1
        if now < self.next <= now + self._interval:
            return 0  # `tick` would say so too; under a flood this is all there is to do
        return self.tick(now)

    def tick(self, now: float) -> int:
        """Release what was held back, when it is time; too early or too late does no harm.

        Args:
            now: monotonic time in seconds.

        Returns:
            How many notifications to deliver now, in one wake-up; 0: none.
        """
        # A time that ran backwards must not hold anybody back for longer than an interval.
        self.next = min(self.next, now + self._interval)
        if not self.held_back or now < self.next:
            return 0
        count, self.held_back = self.held_back, 0
        self.next = now + self._interval
        return count
