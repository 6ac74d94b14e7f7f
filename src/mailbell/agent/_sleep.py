"""Did the machine sleep? Told once for each sleep, whoever notices it first.

Two say so. The clocks always do: CLOCK_MONOTONIC stands still while the machine
sleeps, and CLOCK_BOOTTIME goes on (clock_gettime(2)), so the difference between
them is how long it has slept in all. logind does as well, sooner and by name, where
there is one: `PrepareForSleep` comes with true before a sleep and with false after
it, and with false also when a sleep came to nothing.

Pure: what the clocks say is an argument.
"""

from typing import Final, NamedTuple

__all__ = ["Reading", "Sleep"]

# Seconds. Nothing is missed in a shorter sleep: mail servers try for longer.
_SHORTEST: Final = 2.0


class Reading(NamedTuple):
    """CLOCK_BOOTTIME between two looks at CLOCK_MONOTONIC, in seconds.

    No two clocks can be read at once, and between two calls this process may be
    kept waiting for any time. With a look before and one after it is known how
    wrong the difference may be.

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
        """How long the machine has slept in all, at least."""
        return self.boottime - self.after

    @property
    def most(self) -> float:
        """How long the machine has slept in all, at most."""
        return self.boottime - self.before


class Sleep:
    """Knows which sleeps have been told.

    Args:
        reading: the clocks now.
    """

    def __init__(self, reading: Reading) -> None:
        # What had been slept when a sleep was last told, at most. Short sleeps add up.
        self._most = reading.most
        self._is_told = False  # the sleep that logind spoke of last

    def look(self, reading: Reading) -> bool:
        """Ask the clocks.

        Args:
            reading: the clocks now.

        Returns:
            Whether the machine has slept, and that is news.
        """
        if reading.least - self._most > _SHORTEST:
            self._most = reading.most
            self._is_told = True
            return True
        # The total only grows: what is the most now was not exceeded earlier.
        self._most = min(self._most, reading.most)
        return False

    def falling_asleep(self) -> None:
        """Note logind's word that the machine is about to sleep."""
        self._is_told = False

    def awake(self, reading: Reading) -> bool:
        """Note logind's word that the machine is awake again.

        Args:
            reading: the clocks now.

        Returns:
            Whether that is news: the clocks may have told it already.
        """
        is_news = self.look(reading) or not self._is_told
        self._most = reading.most
        self._is_told = True
        return is_news
