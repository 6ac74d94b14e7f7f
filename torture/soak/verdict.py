"""Which series drift: what is measured of each process, what growth is tolerated, and why."""

from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import Final, NamedTuple

from torture.soak.drift import Life, Point, Trend, block_means, student, trend
from torture.soak.plan import HOUR, Record, Sample
from torture.soak.sample import COUNTED, CPU

__all__ = ["ALPHA", "COST", "TOLERANCES", "Row", "Tolerance", "Verdict", "judged", "tolerance_of"]

ALPHA: Final = 0.01
"""How likely it is at most that any series at all is called a drift although none drifts, if
the model of `torture.soak.drift` holds. The series that change share it evenly (Bonferroni)."""

COST: Final = "CPU a notification, us"
DAY: Final = 24 * HOUR


class Tolerance(NamedTuple):
    """What growth of a series does no harm.

    Attributes:
        names: how the names of such series begin.
        a_day: growth a day.
        found: growth an hour that a soak must be able to find.
        quantum: values are whole multiples of it.
        relative: whether growth is a share of the series' mean.
        step: how much higher the next life may stand than the one before it at the same age.
        why: the reason.
    """

    names: tuple[str, ...]
    a_day: float
    found: float
    quantum: float
    relative: bool
    step: float
    why: str


TOLERANCES: Final = (
    Tolerance(("RSS", "anonymous memory"), 1024, 600, 4, False, 1024,
              "1 MiB a day: the sandbox permits 1 GiB, which then lasts for years"),
    Tolerance(("descriptors", "threads", "child processes", "companions"), 10, 60, 1, False, 2,
              "10 a day: the 1024 that a process may have by default then last for 100 days"),
    Tolerance(("CPU",), 0.1, 0.5, 0, True, 0.25,
              "a tenth a day: the machine's other work changes it by more"),
    Tolerance(("database",), 1024, 600, 4, False, 1024,
              "1 MiB a day: it holds 100,000 accounts at most, and uses free pages again"),
    Tolerance(("",), 0.1, 0.5, 1, True, 0.25,
              "a tenth a day of its mean: tables have a capacity, and the load has its chances"),
)  # fmt: skip
"""The first one whose name fits counts."""


class Verdict:
    """What is said of a series."""

    FLAT: Final = "does not change"
    NONE: Final = "no drift: zero lies within the error"
    SMALL: Final = "grows less than tolerated"
    FALLS: Final = "falls"
    DRIFT: Final = "DRIFT"
    STEP: Final = "DRIFT between lives"
    UNSURE: Final = "too uncertain to tell"
    NOTHING: Final = "too short to tell"


class Row(NamedTuple):
    """One series of one process.

    Attributes:
        process: its name.
        name: what was measured.
        lives: what was measured after the warm-up, each life.
        first: mean of the first block of the first life; None: nothing was measured.
        last: mean of the last block of the last life.
        line: the line through it; None: it is too short.
        width: how far the slope may be off, a second, at the level of the verdict.
        step: how much higher the last life stands than the first at the same age; None: there
            is one life, or they have no age in common.
        verdict: one of `Verdict`.
    """

    process: str
    name: str
    lives: tuple[Life, ...]
    first: float | None
    last: float | None
    line: Trend | None
    width: float
    step: float | None
    verdict: str

    @property
    def drifts(self) -> bool:
        """Whether something grows."""
        return self.verdict in {Verdict.DRIFT, Verdict.STEP}


def tolerance_of(name: str) -> Tolerance:
    """Return what growth of a series does no harm.

    Args:
        name: of the series.
    """
    return next(each for each in TOLERANCES if name.startswith(each.names))


def judged(record: Record, alpha: float = ALPHA) -> list[Row]:
    """Judge all series of a soak.

    Args:
        record: what was measured.
        alpha: as `ALPHA`.
    """
    series = list(_series(record.samples))
    # What never changes raises no alarm.
    changing = sum(not _is_constant(each for each, _ in found) for _, _, found in series)
    return [_row(*each, alpha=alpha / max(changing, 1)) for each in series]


def _series(samples: Iterable[Sample]) -> Iterator[tuple[str, str, list[tuple[Life, Life]]]]:
    """Yield process, name, and of each life what came by time and what came by age."""
    lives: dict[str, dict[int, list[Sample]]] = {}
    for sample in samples:
        lives.setdefault(sample.process, {}).setdefault(sample.life, []).append(sample)
    for process, found in lives.items():
        names = dict.fromkeys(name for life in found.values() for name in _values(life))
        for name in names:
            yield process, name, [_points(life, name) for life in found.values()]


def _values(life: list[Sample]) -> Iterator[str]:
    yield from (name for name in life[0].values if name not in {CPU, COUNTED})
    yield COST


def _points(life: list[Sample], name: str) -> tuple[Life, Life]:
    """Return a series of a life after its warm-up: by time, and by the age of the process."""
    warm = [sample for sample in life if sample.is_warm]
    if name != COST:
        return (
            [Point(each.at, each.values[name]) for each in warm if name in each.values],
            [Point(each.age, each.values[name]) for each in warm if name in each.values],
        )
    found = list(_costs(warm))
    return [Point(at, cost) for at, _, cost in found], [Point(age, cost) for _, age, cost in found]


def _costs(warm: list[Sample]) -> Iterator[tuple[float, float, float]]:
    """Yield time, age, and the CPU time of a notification since the sample before."""
    for before, now in pairwise(warm):
        counted = now.values[COUNTED] - before.values[COUNTED]
        if counted > 0:
            spent = now.values[CPU] - before.values[CPU]
            yield now.at, now.age, spent / counted * 1e6


def _row(process: str, name: str, found: list[tuple[Life, Life]], *, alpha: float) -> Row:
    lives = tuple(by_time for by_time, _ in found if by_time)
    tolerance = tolerance_of(name)
    line = trend(lives, tolerance.quantum)
    level = _level(lives)
    width = line.half_width(alpha) if line else 0.0
    scale = abs(level) if tolerance.relative else 1.0
    step, step_width = _step([by_age for _, by_age in found if by_age], alpha)
    verdict = _verdict(lives, line, width, tolerance, scale)
    if step is not None and step > max(tolerance.step * scale, step_width):
        verdict = Verdict.STEP
    ends = _ends(lives)
    return Row(process, name, lives, *ends, line, width, step, verdict)


def _verdict(
    lives: tuple[Life, ...], line: Trend | None, width: float, tolerance: Tolerance, scale: float
) -> str:
    if line is None:
        return Verdict.NOTHING
    if _is_constant(lives):
        return Verdict.FLAT
    if abs(line.slope) <= width:
        is_sharp = width * HOUR <= tolerance.found * scale
        return Verdict.NONE if is_sharp else Verdict.UNSURE
    if line.slope < 0:
        return Verdict.FALLS
    return Verdict.DRIFT if line.slope * DAY > tolerance.a_day * scale else Verdict.SMALL


def _is_constant(lives: Iterable[Life]) -> bool:
    return len({value for life in lives for _, value in life}) <= 1


def _level(lives: tuple[Life, ...]) -> float:
    values = [value for life in lives for _, value in life]
    return sum(values) / len(values) if values else 0.0


def _ends(lives: tuple[Life, ...]) -> tuple[float | None, float | None]:
    if not lives:
        return None, None
    return _block(lives[0])[0], _block(lives[-1])[-1]


def _block(life: Life) -> list[float]:
    """Return the means of twelve blocks, or fewer."""
    length = max((life[-1].at - life[0].at) / 12, 1e-9)
    return [value for _, value in block_means(life, length)]


def _step(lives: list[Life], alpha: float) -> tuple[float | None, float]:
    """Return how much higher the last life stands than the first, and how far that may be off."""
    if len(lives) < 2:
        return None, 0.0
    low = max(life[0].at for life in (lives[0], lives[-1]))
    high = min(life[-1].at for life in (lives[0], lives[-1]))
    both = [[point for point in life if low <= point.at <= high] for life in (lives[0], lives[-1])]
    if min(map(len, both)) < 8 or high <= low:
        return None, 0.0
    means = [[value for _, value in block_means(life, (high - low) / 4)] for life in both]
    levels = [sum(each) / len(each) for each in means]
    squares = sum(
        (value - mid) ** 2 for each, mid in zip(means, levels, strict=True) for value in each
    )
    freedom = sum(map(len, means)) - 2
    error = (squares / freedom * sum(1 / len(each) for each in means)) ** 0.5
    return levels[1] - levels[0], student(alpha, freedom) * error
