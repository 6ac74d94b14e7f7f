"""How often a series is called a drift that does not drift, and how often a leak is found.

Both are counted with series whose growth is known. The noise has a memory, as that of a real
process has: each value keeps a part of how far the one before it was off.
"""

import math
import random
from collections.abc import Sequence
from typing import Final, NamedTuple

from torture.soak.chance import chance_of
from torture.soak.drift import Life, Point, trend
from torture.soak.plan import HOUR

__all__ = ["LEAK", "SECONDS", "Alarms", "alarms", "noisy"]

LEAK: Final = 10.0
"""KiB a minute: the growth that must be found."""
_SIZE: Final = 20.0  # KiB, the standard deviation of the noise; a page has 4
_LEVEL: Final = 25_000.0
# Seconds after which the noise has forgotten all but a third of what it was.
_MEMORIES: Final = (0.0, 60.0, 180.0)
# Lives as in an hour in which a part is restarted in the middle, with the warm-up taken off.
_LIVES: Final = (1400.0, 1400.0)
SECONDS: Final = sum(_LIVES)
"""How long a series is."""
_EVERY: Final = 10.0


class Alarms(NamedTuple):
    """What was found in series of one kind of noise.

    Attributes:
        memory: seconds after which a third is left of what a value was off.
        flat: share of the series without growth that are called a drift, at `alpha`.
        leaking: share of those that grow by `LEAK` that are called a drift.
    """

    memory: float
    flat: float
    leaking: float


def noisy(
    chance: random.Random, seconds: float, *, a_minute: float, memory: float, begin: float = 0.0
) -> Life:
    """Make a series.

    Args:
        chance: makes the noise.
        seconds: how long it is.
        a_minute: by how much it grows.
        memory: as in `Alarms`.
        begin: its first time.
    """
    keep = math.exp(-_EVERY / memory) if memory else 0.0
    fresh = _SIZE * math.sqrt(1 - keep * keep)
    off = chance.gauss(0, _SIZE)
    points = []
    for number in range(int(seconds / _EVERY)):
        at = begin + number * _EVERY
        points.append(Point(at, _LEVEL + off + a_minute * at / 60))
        off = keep * off + chance.gauss(0, fresh)
    return points


def alarms(alpha: float, seeds: Sequence[int]) -> list[Alarms]:
    """Count how many series are called a drift, for each kind of noise.

    Args:
        alpha: how likely that may be for one without growth.
        seeds: one for each series.
    """
    return [
        Alarms(memory, *(_share(alpha, seeds, memory, a_minute) for a_minute in (0.0, LEAK)))
        for memory in _MEMORIES
    ]


def _share(alpha: float, seeds: Sequence[int], memory: float, a_minute: float) -> float:
    return sum(_is_found(alpha, seed, memory, a_minute) for seed in seeds) / len(seeds)


def _is_found(alpha: float, seed: int, memory: float, a_minute: float) -> bool:
    chance = chance_of(seed, memory)
    lives, begin = [], 0.0
    for seconds in _LIVES:
        lives.append(noisy(chance, seconds, a_minute=a_minute, memory=memory, begin=begin))
        begin += HOUR / len(_LIVES)
    line = trend(lives)
    return line is not None and line.slope > line.half_width(alpha)
