"""Places: who is next, who may stay, and who must give way."""

from dataclasses import dataclass
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailbell.sender._places import PATIENCE, Pace, Places, Rank

DEADLINE = 2.0


@dataclass(eq=False)
class Waiting:
    rank: Rank = Rank.NEW
    began: float = 0.0


def fill(places: Places[Waiting], rank: Rank, count: int, now: float) -> list[Waiting]:
    """Queue calls, and begin as many as have a place."""
    calls = [Waiting(rank) for _ in range(count)]
    for call in calls:
        places.queue(call)
    while places.next_rank is rank:
        places.begin(rank, now)
    return calls


def test_half_of_the_places_at_most_is_for_those_that_failed() -> None:
    places: Places[Waiting] = Places(256, DEADLINE)
    fill(places, Rank.FAILING, 300, 0.0)
    assert (places.in_flight, places.waiting) == (128, 172)
    fill(places, Rank.NEW, 300, 0.0)
    assert places.in_flight == 224  # an eighth is for proven ones alone
    fill(places, Rank.PROVEN, 40, 0.0)
    assert places.in_flight == 256
    assert places.next_rank is None


def test_while_others_wait_those_that_failed_get_an_eighth() -> None:
    places: Places[Waiting] = Places(256, DEADLINE)
    for rank in (Rank.NEW, Rank.FAILING):
        for _ in range(300):
            places.queue(Waiting(rank))
    begun = []
    while (following := places.next_rank) is not None:
        begun.append(following)
        places.begin(following, 0.0)
    assert (begun.count(Rank.NEW), begun.count(Rank.FAILING)) == (192, 32)


@pytest.mark.parametrize(("connections", "failing"), [(1, 1), (3, 1), (9, 4)])
def test_half_of_the_places_is_a_whole_number(connections: int, failing: int) -> None:
    places: Places[Waiting] = Places(connections, DEADLINE)
    fill(places, Rank.FAILING, connections, 0.0)
    assert places.in_flight == failing


@pytest.mark.parametrize(("connections", "failing"), [(8, 1), (15, 1), (17, 2)])
def test_so_is_an_eighth(connections: int, failing: int) -> None:
    places: Places[Waiting] = Places(connections, DEADLINE)
    first = fill(places, Rank.FAILING, failing, 0.0)[0]
    fill(places, Rank.PROVEN, 3 - failing, 0.0)  # now it is the turn of those that failed
    places.queue(Waiting(Rank.FAILING))
    places.queue(Waiting(Rank.NEW))
    ranks = [places.next_rank]
    places.end(first)
    assert [*ranks, places.next_rank] == [Rank.NEW, Rank.FAILING]


@pytest.mark.parametrize("rank", list(Rank))
def test_with_one_place_each_rank_gets_it(rank: Rank) -> None:
    places: Places[Waiting] = Places(1, DEADLINE)
    fill(places, rank, 2, 0.0)
    assert (places.in_flight, places.waiting) == (1, 1)


def test_the_ranks_take_turns() -> None:
    places: Places[Waiting] = Places(64, DEADLINE)
    for rank in Rank:
        for _ in range(10):
            places.queue(Waiting(rank))
    order = []
    for _ in range(8):
        following = places.next_rank
        assert following is not None
        places.begin(following, 0.0)
        order.append(following)
    assert order == [Rank.PROVEN, Rank.NEW, Rank.PROVEN, Rank.FAILING] * 2


def test_a_call_that_waits_may_leave() -> None:
    places: Places[Waiting] = Places(1, DEADLINE)
    call = Waiting()
    places.queue(call)
    places.leave_queue(call)
    assert (places.waiting, places.next_rank) == (0, None)


def test_a_late_call_loses_its_place() -> None:
    places: Places[Waiting] = Places(8, DEADLINE)
    assert not places.next_due
    first = fill(places, Rank.NEW, 1, 10.0)
    fill(places, Rank.PROVEN, 1, 11.0)
    assert places.next_due == 12.0
    assert (places.is_late(11.9), places.pop_late(11.9)) == (False, None)
    assert (places.is_late(12.0), places.pop_late(12.0)) == (True, first[0])
    assert (places.is_late(12.0), places.pop_late(12.0), places.next_due) == (False, None, 13.0)


def test_a_call_keeps_its_place_if_no_other_needs_it() -> None:
    places: Places[Waiting] = Places(1, DEADLINE)
    fill(places, Rank.NEW, 1, 10.0)
    assert places.displace(11.9) == []
    places.queue(Waiting(Rank.FAILING))  # may wait
    assert (places.displace(11.9), places.next_due) == ([], 12.0)


def test_a_silent_call_gives_way_to_one_that_is_probably_reachable() -> None:
    places: Places[Waiting] = Places(2, DEADLINE)
    first, second = fill(places, Rank.NEW, 2, 10.0)
    places.queue(Waiting(Rank.NEW))
    assert places.next_due == 10.0 + PATIENCE
    assert places.displace(10.29) == []
    assert places.displace(10.0 + PATIENCE) == [first]
    assert (first.rank, second.rank, places.in_flight) == (Rank.FAILING, Rank.NEW, 1)


def test_no_more_are_displaced_than_wait() -> None:
    places: Places[Waiting] = Places(256, DEADLINE)
    calls = fill(places, Rank.NEW, 224 + 3, 10.0)
    assert places.displace(11.0) == calls[:3]
    assert places.in_flight == 221


@pytest.mark.parametrize("failing", [0, 4])
@pytest.mark.parametrize("waiting", [1, 3])
def test_a_new_call_displaces_no_proven_one_if_that_would_not_help_it(
    failing: int, waiting: int
) -> None:
    places: Places[Waiting] = Places(8, DEADLINE)
    fill(places, Rank.FAILING, failing, 10.0)
    fill(places, Rank.PROVEN, 1, 10.0)
    new = fill(places, Rank.NEW, 7 - failing + waiting, 10.1)
    assert (places.in_flight, places.waiting) == (8, waiting)
    assert places.displace(11.0) == new[:waiting]  # and not the proven one, which began earlier


def test_a_new_call_displaces_a_proven_one_that_takes_all_places() -> None:
    places: Places[Waiting] = Places(8, DEADLINE)
    proven = fill(places, Rank.PROVEN, 8, 10.0)
    places.queue(Waiting(Rank.NEW))
    assert places.displace(11.0) == proven[:1]


@pytest.mark.parametrize("first", [Rank.PROVEN, Rank.NEW])
def test_of_both_ranks_the_call_that_began_first_is_displaced(first: Rank) -> None:
    places: Places[Waiting] = Places(2, DEADLINE)
    (earlier,) = fill(places, first, 1, 10.0)
    fill(places, Rank.NEW if first is Rank.PROVEN else Rank.PROVEN, 1, 10.1)
    places.queue(Waiting(Rank.PROVEN))
    assert places.next_due == 10.0 + PATIENCE
    assert places.displace(11.0) == [earlier]


def test_those_that_failed_are_not_displaced() -> None:
    places: Places[Waiting] = Places(1, DEADLINE)
    fill(places, Rank.FAILING, 1, 10.0)
    places.queue(Waiting(Rank.PROVEN))
    assert (places.displace(11.9), places.next_due) == ([], 12.0)


def test_a_short_deadline_is_shorter_than_the_patience() -> None:
    places: Places[Waiting] = Places(1, 0.1)
    fill(places, Rank.NEW, 2, 10.0)
    assert places.next_due == 10.1


@given(
    rate=st.floats(0.001, 1e5),
    waits=st.lists(st.floats(0, 3) | st.just(0.0), min_size=1, max_size=100),
)
def test_the_pace_keeps_the_rate_in_every_span_of_time(rate: float, waits: list[float]) -> None:
    pace = Pace(rate)
    now = 1000.0
    taken = []
    for wait in waits:
        now += wait / rate
        if pace.next <= now:
            pace.take(now)
            taken.append(now)
    burst = max(rate / 10, 1)
    for first, begin in enumerate(taken):
        for last in range(first, len(taken)):
            allowed = burst + rate * (taken[last] - begin)
            assert last - first + 1 <= allowed * (1 + 1e-6) + 1e-6


@given(rate=st.floats(0.001, 1e4))
def test_the_pace_is_reached(rate: float) -> None:
    pace = Pace(rate)
    now = 1000.0
    taken = []
    for _ in range(50):
        now = max(now, pace.next)
        pace.take(now)
        taken.append(now)
    for earlier, later in pairwise(taken):
        assert later - earlier <= 1 / rate * (1 + 1e-6) + 1e-6


@pytest.mark.parametrize(("rate", "burst"), [(0.1, 1), (10, 1), (20, 2), (40, 4)])
def test_a_tenth_of_a_second_may_come_at_once(rate: float, burst: int) -> None:
    pace = Pace(rate)
    taken = 0
    while pace.next <= 0.0:
        pace.take(0.0)
        taken += 1
    assert taken == burst
    assert pace.next == pytest.approx(1 / rate)
