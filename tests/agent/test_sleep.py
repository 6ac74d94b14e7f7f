"""Sleeps, compared with a simulated machine that knows how long it slept."""

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailbell.agent._sleep import Reading, Sleep


@dataclass
class Machine:
    """Time in quarters of seconds, which are exact in binary."""

    awake: float = 1000.0
    asleep: float = 500.0

    def read(self, first: float = 0.0, second: float = 0.0) -> Reading:
        """Read the clocks, with these delays between the calls."""
        before = self.awake
        self.awake += first
        boottime = self.awake + self.asleep
        self.awake += second
        return Reading(before, boottime, self.awake)


def test_time_that_passes_is_no_sleep() -> None:
    machine = Machine()
    sleep = Sleep(machine.read())
    machine.awake += 1_000_000
    assert not sleep.look(machine.read())


def test_a_sleep_is_told_once() -> None:
    machine = Machine()
    sleep = Sleep(machine.read())
    machine.asleep += 2.25
    assert sleep.look(machine.read())
    assert not sleep.look(machine.read())


@pytest.mark.parametrize("clocks_first", [True, False])
def test_whoever_is_first_tells_it_and_the_other_does_not(clocks_first: bool) -> None:
    machine = Machine()
    sleep = Sleep(machine.read())
    for _ in range(3):
        sleep.falling_asleep()
        assert not sleep.look(machine.read())  # the last look before the machine sleeps
        machine.asleep += 3600
        first, second = (sleep.look, sleep.awake) if clocks_first else (sleep.awake, sleep.look)
        assert first(machine.read())
        assert not second(machine.read())


def test_a_sleep_that_logind_never_spoke_of_is_told_before_the_next_that_it_does() -> None:
    machine = Machine()
    sleep = Sleep(machine.read())
    machine.asleep += 10
    assert sleep.look(machine.read())
    sleep.falling_asleep()
    machine.asleep += 10
    assert sleep.awake(machine.read())


def test_without_the_word_before_the_word_after_it_counts_if_the_clocks_agree() -> None:
    machine = Machine()
    sleep = Sleep(machine.read())
    sleep.falling_asleep()
    assert sleep.awake(machine.read())
    assert not sleep.awake(machine.read())
    machine.asleep += 10
    assert sleep.awake(machine.read())


def test_an_agent_that_starts_just_before_a_sleep_hears_the_word_after_it_only() -> None:
    machine = Machine()
    sleep = Sleep(machine.read())
    assert sleep.awake(machine.read())
    assert not sleep.awake(machine.read())


def test_a_sleep_that_came_to_nothing_is_told_too() -> None:
    """The network was stopped for the sleep, although the machine did not sleep."""
    machine = Machine()
    sleep = Sleep(machine.read())
    sleep.falling_asleep()
    assert sleep.awake(machine.read())
    assert not sleep.look(machine.read())


def test_what_logind_told_does_not_count_for_the_clocks_again() -> None:
    machine = Machine()
    sleep = Sleep(machine.read())
    for _ in range(3):
        sleep.falling_asleep()
        machine.asleep += 1.5
        assert sleep.awake(machine.read())
        machine.asleep += 1.0
        assert not sleep.look(machine.read())


delays = st.integers(0, 40).map(lambda n: n / 4)
looks = st.tuples(
    st.integers(0, 80).map(lambda n: n / 4),  # awake before
    st.one_of(st.just(0.0), st.integers(0, 40).map(lambda n: n / 4)),  # asleep before
    st.one_of(st.just((0.0, 0.0)), st.tuples(delays, delays)),  # while reading
)


@given(looks, st.lists(looks))
def test_no_delay_makes_a_sleep_and_none_hides_one_for_long(
    begin: tuple[float, float, tuple[float, float]],
    happened: list[tuple[float, float, tuple[float, float]]],
) -> None:
    machine = Machine()
    sleep = Sleep(machine.read(*begin[2]))
    untold, doubt = 0.0, begin[2][0]  # how much the earlier sleep may be overestimated
    for awake, asleep, (first, second) in happened:
        machine.awake += awake
        machine.asleep += asleep
        untold += asleep
        if sleep.look(machine.read(first, second)):
            assert untold > 2.0
            untold, doubt = 0.0, first
        else:
            assert untold - second - doubt <= 2.0
            # A reading without delay bounds how long the machine had slept before it.
            doubt = min(doubt, untold + first)


@given(st.lists(looks))
def test_with_clocks_that_are_read_at_once_it_is_exact(
    happened: list[tuple[float, float, tuple[float, float]]],
) -> None:
    machine = Machine()
    sleep = Sleep(machine.read())
    untold = 0.0
    for awake, asleep, _ in happened:
        machine.awake += awake
        machine.asleep += asleep
        untold += asleep
        assert sleep.look(machine.read()) == (untold > 2.0)
        untold = 0.0 if untold > 2.0 else untold
