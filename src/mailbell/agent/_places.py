"""Bounds how many commands run at once. Each run of a job needs a place.

Without a bound, a wake from sleep would start the commands of all jobs at the same moment,
and hundreds of them would use up the descriptors, the processes or the memory.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import trio

__all__ = ["AT_ONCE", "Place", "Places"]

AT_ONCE: Final = 16


class Place:
    """The right to run one command at a time. `Places.one` gives it.

    Args:
        running: the places of all runs.
        stuck: the places of the runs that cannot be ended.
    """

    def __init__(self, running: trio.CapacityLimiter, stuck: trio.CapacityLimiter) -> None:
        self._held = running
        self._stuck = stuck

    def leave_to_others(self) -> None:
        """Give the place to another run, because this run cannot be ended.

        Only as many runs as there are places may do so. So the number of runs stays bounded,
        also if all of them wait for the same dead file server.
        """
        if self._held is self._stuck:
            return
        try:
            self._stuck.acquire_on_behalf_of_nowait(self)
        except trio.WouldBlock:
            return
        self._held.release_on_behalf_of(self)
        self._held = self._stuck

    def end(self) -> None:
        """Give the place back."""
        self._held.release_on_behalf_of(self)


class Places:
    """The places that all jobs share. Who waits gets a place in the order of arrival.

    Args:
        number: how many runs there may be at once.
    """

    def __init__(self, number: int = AT_ONCE) -> None:
        self._running = trio.CapacityLimiter(number)
        self._stuck = trio.CapacityLimiter(number)

    @asynccontextmanager
    async def one(self) -> AsyncIterator[Place]:
        """Wait for a place and hold it during the block.

        Yields:
            The place.
        """
        place = Place(self._running, self._stuck)
        await self._running.acquire_on_behalf_of(place)
        try:
            yield place
        finally:
            place.end()
