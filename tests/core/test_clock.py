"""Stamps, and the times they give when the wall clock is set."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailbell.core.clock import STEP, Clock

SECOND = 1_000_000
YEAR = 365 * 86_400 * SECOND


class Machine:
    """A machine's two clocks, and what happens between two readings of them."""

    def __init__(self, wall: int = 0) -> None:
        self.steady = 5 * SECOND
        self.wall = wall
        self.between: list[int] = []
        self.clock = Clock(lambda: self.steady, self.look)

    def look(self) -> int:
        self.passes(self.between.pop(0) if self.between else 0)
        return self.wall

    def passes(self, time: int) -> None:
        self.steady += time
        self.wall += time


def test_a_boot_without_a_clock_makes_nothing_old() -> None:
    machine = Machine(wall=12 * SECOND)
    started = machine.clock.now()
    machine.passes(30 * SECOND)
    machine.wall += 56 * YEAR  # a time server was reached
    machine.passes(8 * SECOND)
    assert machine.clock.age(started) == 38 * SECOND
    assert machine.clock.time_of(started) == machine.wall - 38 * SECOND


@pytest.mark.parametrize("jump", [-YEAR, -2 * SECOND, 2 * SECOND, YEAR])
def test_a_time_follows_the_wall_clock(jump: int) -> None:
    machine = Machine(wall=56 * YEAR)
    stamp = machine.clock.now()
    assert machine.clock.time_of(stamp) == 56 * YEAR
    machine.wall += jump
    assert machine.clock.time_of(stamp) == 56 * YEAR + jump
    assert machine.clock.age(stamp) == 0


@given(st.lists(st.integers(0, STEP - 1), min_size=1, max_size=20))
def test_a_time_stays_the_same_whatever_lies_between_two_looks(delays: list[int]) -> None:
    """A collector would take a changed start time for a restart."""
    machine = Machine(wall=56 * YEAR)
    stamp = machine.clock.now()
    for delay in delays:
        machine.between = [delay]
        assert machine.clock.time_of(stamp) == 56 * YEAR


def test_a_sleep_between_two_looks_proves_nothing() -> None:
    machine = Machine(wall=56 * YEAR)
    stamp = machine.clock.now()
    machine.between = [3 * 3600 * SECOND]
    assert machine.clock.time_of(stamp) == 56 * YEAR
    assert machine.clock.time_of(stamp) == 56 * YEAR


def test_no_time_is_before_1970_and_no_age_below_none() -> None:
    machine = Machine(wall=56 * YEAR)
    stamp = machine.clock.now()
    machine.passes(YEAR)
    machine.wall = 0
    assert machine.clock.time_of(stamp) == 0
    assert machine.clock.age(machine.steady + 1) == 0


@pytest.mark.parametrize("jump", [-STEP, STEP])
def test_a_change_of_a_step_is_none_and_one_of_more_is(jump: int) -> None:
    machine = Machine(wall=56 * YEAR)
    stamp = machine.clock.now()
    machine.wall += jump
    assert machine.clock.time_of(stamp) == 56 * YEAR
    machine.wall += 1 if jump > 0 else -1
    assert machine.clock.time_of(stamp) == machine.wall
