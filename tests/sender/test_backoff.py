"""Back-off: twice as long after each failure, up to the longest."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailbell.sender._backoff import Backoff, delays


def test_the_delays_of_the_default() -> None:
    assert delays(30, 600) == (30, 60, 120, 240, 480, 600)
    assert delays(1, 1) == (1,)


@given(first=st.floats(0.01, 86_400), factor=st.floats(1, 1e6))
def test_each_delay_is_twice_the_last_one_and_none_is_too_long(first: float, factor: float) -> None:
    longest = first * factor
    found = delays(first, longest)
    assert (found[0], found[-1]) == (first, longest)
    for shorter, longer in pairwise(found):
        assert longer == min(2 * shorter, longest)
        assert longer > shorter


@pytest.mark.parametrize(("first", "longest"), [(0.0, 1.0), (-1.0, 1.0), (2.0, 1.0)])
def test_the_times_must_be_in_order(first: float, longest: float) -> None:
    with pytest.raises(ValueError, match="back-off from"):
        delays(first, longest)


def test_each_waits_as_long_as_it_has_failed() -> None:
    backoff: Backoff[str] = Backoff(30, 600)
    assert not backoff.next_due
    assert backoff.pop_due(1e9) is None
    for name, failures in (("often", 99), ("twice", 2), ("once", 1)):
        backoff.add(name, failures, 1000.0)
    assert len(backoff) == 3
    assert (backoff.next_due, backoff.due("twice", 2), backoff.due("twice", 1)) == (
        1030.0,
        1060.0,
        None,
    )
    assert backoff.pop_due(1029.9) is None
    assert backoff.pop_due(1030.0) == "once"
    backoff.discard("twice", 2)
    backoff.discard("nobody", 3)
    assert backoff.next_due == 1600.0
    assert [backoff.pop_due(1600.0), backoff.pop_due(1600.0)] == ["often", None]


def test_the_most_hopeless_has_failed_most_and_waits_longest() -> None:
    backoff: Backoff[str] = Backoff(30, 600)
    assert backoff.pop_hopeless() is None
    for number, (name, failures) in enumerate((("a", 2), ("b", 3), ("c", 3), ("d", 1))):
        backoff.add(name, failures, 1000.0 + number)
    assert [backoff.pop_hopeless() for _ in range(5)] == ["b", "c", "a", "d", None]


def test_the_number_of_times_is_bounded() -> None:
    assert len(delays(1e-300, 1e300)) == 64
