"""Reports each sleep of the machine once, from two sources.

The first source is the clocks. CLOCK_MONOTONIC stands still while the machine sleeps, and
CLOCK_BOOTTIME goes on (clock_gettime(2)). So their difference is the time that the machine
has slept in all. The second source is logind, if there is one, and it is faster. It sends
`PrepareForSleep` with true before a sleep, and with false after it. It also sends false
if the machine did not sleep after all.

Pure: the times of the clocks are arguments.
"""

from typing import Final, NamedTuple

__all__ = ["Reading", "Sleep"]

# Seconds. No notification is missed in a shorter sleep: mail servers try for longer.
_SHORTEST: Final = 2.0


class Reading(NamedTuple):
    """CLOCK_BOOTTIME, and CLOCK_MONOTONIC before and after it, in seconds.

    Two clocks cannot be read at the same time, and the process may wait for any time
    between two calls. The two times of CLOCK_MONOTONIC bound the error of the difference.

    Attributes:
        before: CLOCK_MONOTONIC.
        boottime: CLOCK_BOOTTIME.
        after: CLOCK_MONOTONIC.
    """

    before: float
    boottime: float
    after: float

    @property
    def least(self) -> float:
        """The least time that the machine has slept in all, in seconds."""
        return self.boottime - self.after

    @property
    def most(self) -> float:
        """The longest time that the machine may have slept in all, in seconds."""
        return self.boottime - self.before


class Sleep:
    """Knows which sleeps have been reported.

    Args:
        reading: the clocks now.
    """

    def __init__(self, reading: Reading) -> None:
        # The longest time slept when a sleep was last reported. Short sleeps add up.
        self._most = reading.most
        self._is_told = False  # whether the sleep that logind announced last was reported

    def look(self, reading: Reading) -> bool:
        """Compare the clocks.

        Args:
            reading: the clocks now.

        Returns:
            Whether the machine has slept and the sleep was not reported yet.
        """
        if reading.least - self._most > _SHORTEST:
            self._most = reading.most
            self._is_told = True
            return True
        # The total only grows, so the bound of this reading also holds for earlier times.
        self._most = min(self._most, reading.most)
        return False

    def falling_asleep(self) -> None:
        """Note logind's signal that the machine is about to sleep."""
        self._is_told = False

    def awake(self, reading: Reading) -> bool:
        """Note logind's signal that the machine is awake again.

        Args:
            reading: the clocks now.

        Returns:
            Whether the sleep was not reported yet: the clocks may have shown it already.
        """
        is_news = self.look(reading) or not self._is_told
        self._most = reading.most
        self._is_told = True
        return is_news
