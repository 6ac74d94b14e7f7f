"""Times that keep their distance when somebody sets the wall clock.

A machine without a battery for its clock starts in 1970, and sets the clock when it has
reached a time server. What was noted before that is then decades old, or in the future.
So a program notes stamps of a clock that never jumps, and turns a stamp into a time since
1970 only when it shows it.
"""

from collections.abc import Callable
from typing import Final

__all__ = ["Clock"]

# Microseconds. The two clocks differ by a constant until somebody sets one of them. What
# is less than this is the time between the two looks.
STEP: Final = 1_000_000


class Clock:
    """Notes stamps, and says when they were.

    Args:
        steady: microseconds of a clock that never jumps and goes on while the machine sleeps
            (CLOCK_BOOTTIME).
        wall: microseconds since 1970, as the machine has it now (CLOCK_REALTIME).
    """

    def __init__(self, steady: Callable[[], int], wall: Callable[[], int]) -> None:
        self._steady = steady
        self._wall = wall
        self._offset = wall() - steady()

    def now(self) -> int:
        """Return a stamp: microseconds of the steady clock."""
        return self._steady()

    def age(self, stamp: int) -> int:
        """Say how long ago a stamp was taken.

        Args:
            stamp: of `now`.

        Returns:
            Microseconds, not less than none.
        """
        return max(self._steady() - stamp, 0)

    def time_of(self, stamp: int) -> int:
        """Say when a stamp was taken, by the wall clock as it is set now.

        The answer for one stamp stays the same until somebody sets the clock.

        Args:
            stamp: of `now`.

        Returns:
            Microseconds since 1970, not less than none.
        """
        before = self._steady()
        offset = self._wall() - before
        # Looks that are far apart, as when the machine slept between them, prove nothing.
        if abs(offset - self._offset) > STEP and self._steady() - before < STEP:
            self._offset = offset
        return max(stamp + self._offset, 0)
