"""Times whose distance stays right when the wall clock is set.

A machine without a battery for its clock starts in 1970 and sets the clock when it reaches
a time server. A wall-clock time noted before that is then decades old, or in the future.
So a program notes stamps of a clock that never jumps. It turns a stamp into a time since
1970 only when it shows it.
"""

from collections.abc import Callable
from typing import Final

__all__ = ["Clock"]

# Microseconds. The difference of the two clocks is constant until one of them is set. A
# smaller change is the time between the two readings.
STEP: Final = 1_000_000


class Clock:
    """Takes stamps, and tells when they were taken.

    Args:
        steady: returns microseconds of a clock that never jumps and that goes on while the
            machine sleeps (CLOCK_BOOTTIME).
        wall: returns microseconds since 1970, as the machine has it now (CLOCK_REALTIME).
    """

    def __init__(self, steady: Callable[[], int], wall: Callable[[], int]) -> None:
        self._steady = steady
        self._wall = wall
        self._offset = wall() - steady()

    def now(self) -> int:
        """Return a stamp: the microseconds of the steady clock."""
        return self._steady()

    def age(self, stamp: int) -> int:
        """Tell how long ago a stamp was taken.

        Args:
            stamp: a stamp of `now`.

        Returns:
            Microseconds, never less than 0.
        """
        return max(self._steady() - stamp, 0)

    def time_of(self, stamp: int) -> int:
        """Tell when a stamp was taken, by the wall clock as it is set now.

        The answer for one stamp stays the same until the clock is set.

        Args:
            stamp: a stamp of `now`.

        Returns:
            Microseconds since 1970, never less than 0.
        """
        before = self._steady()
        offset = self._wall() - before
        # If much time passed between the readings, as when the machine slept, they prove nothing.
        if abs(offset - self._offset) > STEP and self._steady() - before < STEP:
            self._offset = offset
        return max(stamp + self._offset, 0)
