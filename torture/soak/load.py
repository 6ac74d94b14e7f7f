"""The load: kinds of work, each at its own pace, in the order that a seed decides."""

import random
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, NamedTuple

import trio

from mailbell.core.errors import MailbellError
from torture.soak.chance import chance_of

__all__ = ["Kind", "Load"]

# Seconds until a piece of work is given up. It is a bound, and not measured.
PATIENCE: Final = 60.0
# Pieces of one kind at the same time. A stopped program must not make the load grow.
MOST: Final = 200


class Kind(NamedTuple):
    """One kind of work.

    Attributes:
        name: in the tables.
        rate: how many a second; the time between two is distributed exponentially.
        do: does it once.
    """

    name: str
    rate: float
    do: Callable[[random.Random], Awaitable[None]]


class Load:
    """Does all kinds of work at once.

    Args:
        kinds: of work.
        seed: decides what is done when.
        rate: how many times the rates of the kinds.

    Attributes:
        done: how often each kind was done.
        failed: how often a connection or a call failed meanwhile. While a program is restarted
            that must be, and it is no fault.
    """

    def __init__(self, kinds: Sequence[Kind], seed: int, rate: float) -> None:
        self._kinds = kinds
        self._seed = seed
        self._rate = rate
        self.done: Counter[str] = Counter()
        self.failed: Counter[str] = Counter()

    async def serve(self) -> None:
        """Work until it is cancelled."""
        async with trio.open_nursery() as nursery:
            for kind in self._kinds:
                nursery.start_soon(self._repeat, kind)

    async def _repeat(self, kind: Kind) -> None:
        chance = chance_of(self._seed, kind.name)
        places = trio.CapacityLimiter(MOST)
        due = trio.current_time()
        async with trio.open_nursery() as nursery:
            while True:
                # The load has a pace of its own: it waits for nothing that a program does.
                due += chance.expovariate(kind.rate * self._rate)
                await trio.sleep_until(due)
                if places.available_tokens > 0:
                    nursery.start_soon(self._do, kind, chance_of(chance.random()), places)

    async def _do(self, kind: Kind, chance: random.Random, places: trio.CapacityLimiter) -> None:
        async with places:
            with trio.move_on_after(PATIENCE) as scope:
                try:
                    await kind.do(chance)
                except (OSError, MailbellError):
                    self.failed[kind.name] += 1
            if scope.cancelled_caught:
                self.failed[kind.name] += 1
            self.done[kind.name] += 1
