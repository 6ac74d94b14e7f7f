"""Whether a series grows: one straight line through all lives of a process, with its error. Pure.

The line is that of least squares through block means, with one slope for all lives and a level
for each. Least squares and not Theil-Sen: the error of the median of slopes assumes independent
values, and two lives have no order in common that ranks could compare.

Samples that follow each other are alike: memory that was taken a second ago is still taken. So a
sample is no independent value, and the error of a line through samples is far too small. The
line goes through means of blocks instead. What is still alike in blocks that follow each other is
estimated from the residuals, and makes the error larger and the degrees of freedom fewer. The
estimate is itself too small for so few blocks, which is corrected (Kendall, 1954; Marriott and
Pope, 1954).
"""

import math
from collections.abc import Sequence
from functools import cache
from itertools import pairwise
from typing import Final, NamedTuple

__all__ = ["BLOCKS", "Life", "Point", "Trend", "block_means", "student", "trend"]

BLOCKS: Final = 16
"""Blocks of all lives together, about. More blocks are more alike, fewer leave too few degrees
of freedom."""
_FEWEST: Final = 6  # blocks of all lives, without which nothing is said
_FEWEST_OF_LIFE: Final = 2
# Noise that remembers for as long as a block lasts makes neighbours this much alike. What is more
# alike is no noise but the shape of a growth, which must not hide it.
_MOST_ALIKE: Final = 0.5
_STEPS: Final = 400  # of Simpson's rule
_HALVINGS: Final = 60


class Point(NamedTuple):
    """A time in seconds, and a value."""

    at: float
    value: float


Life = Sequence[Point]
"""What was measured of one process, in the order of time."""


class Trend(NamedTuple):
    """A straight line through all lives.

    Attributes:
        slope: growth a second.
        error: standard error of the slope.
        freedom: degrees of freedom of that error; it may be a fraction.
        blocks: how many means the line goes through.
        alike: estimated correlation of blocks that follow each other; 0 at least.
    """

    slope: float
    error: float
    freedom: float
    blocks: int
    alike: float

    def half_width(self, alpha: float) -> float:
        """Return how far the slope may be too high, with this probability of more.

        Args:
            alpha: one-sided, above 0 and below 0.5.
        """
        # Rounded down, so that it need not be calculated anew each time.
        return student(alpha, math.floor(self.freedom * 10) / 10) * self.error


def trend(lives: Sequence[Life], quantum: float = 0.0, blocks: int = BLOCKS) -> Trend | None:
    """Draw one line through all lives.

    Args:
        lives: what was measured, without the warm-up.
        quantum: the values are whole multiples of it; 0: any value.
        blocks: how many block means there are, about.

    Returns:
        None: there is too little to say anything.
    """
    means = _blocks_of(lives, blocks)
    count = sum(map(len, means))
    if count < _FEWEST:
        return None
    centred = [_centred(life) for life in means]
    spread = sum(at * at for life in centred for at, _ in life)
    slope = sum(at * value for life in centred for at, value in life) / spread
    residuals = [[value - slope * at for at, value in life] for life in centred]
    freedom = count - len(means) - 1
    # A value that never changes has at least the error of its rounding, spread over its block.
    rounding = quantum * quantum / 12
    variance = max(sum(each * each for life in residuals for each in life) / freedom, rounding)
    alike = _alike(residuals, count)
    inflation = (1 + alike) / (1 - alike)
    error = math.sqrt(variance * inflation / spread)
    return Trend(slope, error, max(freedom / inflation, 1.0), count, alike)


def _blocks_of(lives: Sequence[Life], blocks: int) -> list[list[Point]]:
    """Cut lives into blocks of the same length; leave out a life that has too few of them."""
    length = sum(life[-1].at - life[0].at for life in lives if life) / blocks
    if length <= 0:
        return []
    cut = (block_means(life, length) for life in lives if life)
    return [means for means in cut if len(means) >= _FEWEST_OF_LIFE]


def block_means(life: Life, length: float) -> list[Point]:
    """Return the mean time and the mean value of each block of a life.

    The last block may have less than others. It is left out if it has less than half.

    Args:
        life: at least one point.
        length: seconds of a block.
    """
    begin = life[0].at
    number = max(round((life[-1].at - begin) / length), 1)
    found: list[list[Point]] = [[] for _ in range(number)]
    for point in life:
        place = int((point.at - begin) / length)
        # The last point stands at the very end of the last block.
        found[min(place, number - 1)].append(point)
    return [_mean(block) for block in found if block]


def _mean(points: Life) -> Point:
    return Point(
        math.fsum(at for at, _ in points) / len(points),
        math.fsum(value for _, value in points) / len(points),
    )


def _centred(life: Life) -> list[Point]:
    middle = _mean(life)
    return [Point(at - middle.at, value - middle.value) for at, value in life]


def _alike(residuals: Sequence[Sequence[float]], count: int) -> float:
    """Estimate the correlation of neighbours, with the correction for few values."""
    squares = sum(each * each for life in residuals for each in life)
    if squares == 0:
        return 0.0
    products = sum(a * b for life in residuals for a, b in pairwise(life))
    found = (products / squares + 2 / count) / (1 - 4 / count) if count > 4 else 0.0
    return min(max(found, 0.0), _MOST_ALIKE)


@cache
def student(alpha: float, freedom: float) -> float:
    """Return the value that Student's t exceeds with a probability.

    Args:
        alpha: the probability, above 0 and below 0.5.
        freedom: degrees of freedom, 1 at least; it may be a fraction.
    """
    # With t = sqrt(freedom) * tan(angle) the density is cos(angle) ** (freedom - 1).
    power = freedom - 1
    whole = 2 * _integral(power, 0.0)
    low, high = 0.0, math.pi / 2
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        if _integral(power, middle) / whole > alpha:
            low = middle
        else:
            high = middle
    return math.sqrt(freedom) * math.tan(low)


def _integral(power: float, begin: float) -> float:
    """Integrate a power of the cosine up to a right angle, by Simpson's rule."""
    step = (math.pi / 2 - begin) / _STEPS
    values: list[float] = [max(math.cos(begin + step * n), 0.0) ** power for n in range(_STEPS + 1)]
    odd, even = math.fsum(values[1:-1:2]), math.fsum(values[2:-1:2])
    return (values[0] + 4 * odd + 2 * even + values[-1]) * step / 3
