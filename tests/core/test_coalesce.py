"""Coalescing: a wake-up follows each notification within an interval; none come closer than one."""

import math
from fractions import Fraction
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mailbell.core.coalesce import Coalescer

INTERVALS = st.one_of(st.sampled_from([0.1, 1.0, 0.3, 60.0]), st.floats(0.01, 3600))
# An uptime of decades, where times are rounded to about a hundred nanoseconds.
STARTS = st.floats(0, 1e9)
RINGS = st.lists(st.floats(0, 5) | st.just(0.0), max_size=30)


def drive(
    interval: float, start: float, rings: list[float], late: float = 0.0
) -> tuple[list[float], list[tuple[float, int]]]:
    """Rings at the given distances and ticks when due, or later. Returns rings and wake-ups."""
    coalescer = Coalescer(interval)
    now = start
    rung: list[float] = []
    woken: list[tuple[float, int]] = []

    def note(time: float, count: int) -> None:
        if count:
            woken.append((time, count))

    for distance in rings:
        now += distance * interval
        if coalescer.due is not None and coalescer.due + late <= now:
            due = coalescer.due + late
            note(due, coalescer.tick(due))
        rung.append(now)
        note(now, coalescer.ring(now))
    if coalescer.due is not None:
        due = coalescer.due + late
        note(due, coalescer.tick(due))
    assert coalescer.due is None
    return rung, woken


@given(interval=INTERVALS, start=STARTS, rings=RINGS)
@example(interval=0.1, start=0.3, rings=[0, 0, 1, 0])
def test_promises(interval: float, start: float, rings: list[float]) -> None:
    rung, woken = drive(interval, start, rings)
    assert len(rung) == sum(count for _, count in woken)
    for time in rung:
        assert any(time <= wake <= time + interval for wake, _ in woken)
    for (earlier, _), (later, _) in pairwise(woken):
        assert later >= earlier + interval
        # The rounding of the one sum is the only difference from exact numbers.
        assert Fraction(later) - Fraction(earlier) >= Fraction(interval) - Fraction(math.ulp(later))


@given(interval=INTERVALS, start=STARTS, rings=RINGS, late=st.floats(0, 100))
def test_late_ticks_keep_the_distance(
    interval: float, start: float, rings: list[float], late: float
) -> None:
    rung, woken = drive(interval, start, rings, late)
    assert len(rung) == sum(count for _, count in woken)
    for (earlier, _), (later, _) in pairwise(woken):
        assert later >= earlier + interval


@given(
    interval=INTERVALS,
    start=STARTS,
    steps=st.lists(st.tuples(st.floats(-2, 3) | st.sampled_from([0.0, 0.01]), st.booleans())),
)
def test_to_merge_is_to_ring_where_it_can(
    interval: float, start: float, steps: list[tuple[float, bool]]
) -> None:
    rung, merged, now = Coalescer(interval), Coalescer(interval), start
    for distance, ticks in steps:
        now += distance * interval
        if ticks:
            assert rung.tick(now) == merged.tick(now)
        waited = merged.held_back > 0
        told = rung.ring(now)
        if merged.merge(now):
            assert waited
            assert told == 0
        else:
            assert merged.ring(now) == told
        assert (rung.held_back, rung.next) == (merged.held_back, merged.next)


@given(interval=INTERVALS, times=st.lists(st.floats(-1e9, 1e9), min_size=1))
def test_time_that_runs_backwards_holds_nobody_back_for_longer(
    interval: float, times: list[float]
) -> None:
    coalescer = Coalescer(interval)
    delivered = 0
    for now in times:
        delivered += coalescer.ring(now)
        assert coalescer.due is None or coalescer.due <= now + interval
    last = times[-1] + interval
    assert delivered + coalescer.tick(last) == len(times)


@given(interval=INTERVALS, start=STARTS)
def test_tick_at_exactly_due_delivers(interval: float, start: float) -> None:
    coalescer = Coalescer(interval)
    assert coalescer.ring(start) == 1
    assert coalescer.ring(start) == 0
    due = start + interval
    assert coalescer.due == due
    assert coalescer.tick(math.nextafter(due, -math.inf)) == 0
    assert coalescer.tick(due) == 1


def test_first_at_once_then_together() -> None:
    coalescer = Coalescer(1.0)
    assert (coalescer.tick(9.0), coalescer.due) == (0, None)
    assert (coalescer.ring(10.0), coalescer.due) == (1, None)
    assert (coalescer.ring(10.1), coalescer.due) == (0, 11.0)
    assert (coalescer.ring(10.9), coalescer.due) == (0, 11.0)
    assert (coalescer.tick(11.0), coalescer.due) == (2, None)
    assert (coalescer.ring(11.5), coalescer.due) == (0, 12.0)
    assert (coalescer.ring(12.0), coalescer.due) == (2, None)


def test_flood_wakes_once_an_interval() -> None:
    rung, woken = drive(1.0, 0.0, [1 / 256] * 1024)
    assert len(rung) == 1024
    assert len(woken) == 5  # at once, and at the end of each of the four seconds


@pytest.mark.parametrize("interval", [0.0, -1.0, math.inf, math.nan])
def test_interval_is_a_positive_number(interval: float) -> None:
    with pytest.raises(ValueError, match="a positive number of seconds"):
        Coalescer(interval)


def test_merging_begins_with_the_second_and_ends_when_it_is_time() -> None:
    coalescer = Coalescer(1.0)
    assert not coalescer.merge(10.0), "nothing is held back"
    assert coalescer.ring(10.0) == 1
    assert not coalescer.merge(10.0), "nothing is held back yet"
    assert coalescer.ring(10.0) == 0
    assert coalescer.merge(10.0), "just one interval before it is time"
    assert coalescer.merge(10.9)
    assert coalescer.held_back == 3
    assert not coalescer.merge(11.0), "it is time"
    assert not coalescer.merge(9.9), "time ran backwards"
    assert coalescer.ring(11.0, 2) == 5
