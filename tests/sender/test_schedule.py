"""The schedule step by step; test_schedule_model.py has its promises."""

import math
from collections.abc import Iterator

import pytest

from mailbell.core.networks import Address, Family
from mailbell.core.notification import Transport
from mailbell.core.sender_outcome import RingOutcome
from mailbell.core.target import Target
from mailbell.sender import _schedule
from mailbell.sender._call import SECRET, login_key
from mailbell.sender._places import PATIENCE, Rank
from mailbell.sender._ring import Ring
from mailbell.sender._schedule import MOST, REMEMBERED, SHARED, Call, Outlook, Schedule

NOW = 1000.0
INTERVAL = 2.0
DEADLINE = 2.0
HORIZON = 1800.0
COALESCED, BACKING_OFF, SENT, REFUSED, TIMEOUT, EXPIRED = (
    RingOutcome.COALESCED,
    RingOutcome.BACKING_OFF,
    RingOutcome.SENT,
    RingOutcome.REFUSED,
    RingOutcome.TIMEOUT,
    RingOutcome.EXPIRED,
)


def target(number: int) -> Target:
    return Target(Address(Family.IPV4, 0xC0000200 + number), 79, Transport.TCP)


FIRST, SECOND, THIRD = map(target, range(3))


def rank(call: Call) -> Rank:
    """The rank now. mypy takes an attribute that it has seen once for constant."""
    return call.rank


class House:
    """A schedule, and what it told."""

    def __init__(self, *, connections: int = 256, rate: float = 1000.0, most: int = 100) -> None:
        self.rings: list[Ring] = []
        self.wakes = 0
        self.now = NOW
        self.schedule = Schedule(
            interval=INTERVAL,
            backoff=(30.0, 600.0),
            rate=rate,
            connections=connections,
            deadline=DEADLINE,
            horizon=HORIZON,
            on_ring=self.rings.append,
            on_due=self.wake,
            steady=lambda: self.now,
            secret=bytes(SECRET),
            most=most,
        )

    def wake(self) -> None:
        self.wakes += 1

    def told(self) -> list[tuple[str, RingOutcome]]:
        told = [(ring.account, ring.outcome) for ring in self.rings]
        self.rings.clear()
        return told

    def take(self, now: float, most: int = 64) -> list[Call]:
        self.now = now
        return self.schedule.take(now, most)

    def attempt(self, outcome: RingOutcome, now: float) -> Call:
        """Take the only call, and end it at once."""
        (call,) = self.take(now)
        self.schedule.done(call, outcome, now)
        return call

    def fail(self, place: Target = FIRST, now: float = NOW) -> Call:
        """Ring a target that cannot be reached."""
        self.schedule.ring(place, "anna", now)
        call = self.attempt(REFUSED, now)
        self.told()
        return call


@pytest.fixture
def house() -> House:
    return House()


def test_a_notification_is_sent_at_once(house: House) -> None:
    assert not house.schedule.next_due
    house.schedule.ring(FIRST, "anna", NOW)
    assert (house.told(), house.wakes, house.schedule.pending) == ([], 1, 1)
    assert house.schedule.next_due is not None
    (call,) = house.take(NOW)
    assert (call.target, call.is_configured, house.schedule.in_flight) == (FIRST, True, 1)
    house.schedule.done(call, SENT, NOW + 0.25)
    assert house.rings == [Ring("anna", FIRST, SENT, milliseconds=250.0, waited=0.25)]
    assert (house.schedule.pending, house.schedule.in_flight, rank(call)) == (0, 0, Rank.PROVEN)


def test_those_that_come_within_the_interval_become_one(house: House) -> None:
    house.schedule.ring(FIRST, "anna", NOW)
    house.attempt(SENT, NOW)
    house.told()
    house.schedule.ring(FIRST, "bob", NOW + 0.5)
    house.schedule.ring(FIRST, "carl", NOW + 1)
    assert house.told() == [("bob", COALESCED), ("carl", COALESCED)]
    assert (house.schedule.next_due, house.take(NOW + 1.9)) == (NOW + INTERVAL, [])
    (call,) = house.take(NOW + INTERVAL)
    house.schedule.done(call, SENT, NOW + INTERVAL)
    assert house.rings == [Ring("carl", FIRST, SENT, milliseconds=0.0, waited=1.5)]
    assert house.take(NOW + 2 * INTERVAL) == []
    assert not house.schedule.next_due


def test_one_that_comes_while_another_waits_for_its_place_joins_it() -> None:
    house = House(connections=1)
    house.schedule.ring(FIRST, "anna", NOW)
    (call,) = house.take(NOW)
    house.schedule.ring(SECOND, "bob", NOW)
    house.schedule.ring(SECOND, "bob", NOW)
    assert (house.told(), house.take(NOW)) == ([("bob", COALESCED)], [])
    house.schedule.done(call, SENT, NOW)
    assert house.attempt(SENT, NOW).target == SECOND


def test_one_that_comes_during_an_attempt_is_sent_after_it(house: House) -> None:
    house.schedule.ring(FIRST, "anna", NOW)
    (call,) = house.take(NOW)
    house.schedule.ring(FIRST, "bob", NOW + 0.1)
    house.schedule.ring(FIRST, "carl", NOW + 0.2)
    assert list(house.schedule.waiting()) == ["anna", "bob", "carl"]
    house.schedule.done(call, SENT, NOW + 0.3)
    assert list(house.schedule.waiting()) == ["bob", "carl"]
    assert house.told() == [("bob", COALESCED), ("carl", COALESCED), ("anna", SENT)]
    assert house.take(NOW + 0.3) == []
    (call,) = house.take(NOW + 0.3 + INTERVAL)
    house.schedule.done(call, SENT, NOW + 3.3)
    assert house.rings[0].account == "carl"
    assert house.rings[0].waited == pytest.approx(3.2)  # since the first one of the two


def test_a_failed_target_is_left_alone_longer_each_time(house: House) -> None:
    house.schedule.ring(FIRST, "anna", NOW)
    now = NOW
    for delay in (30, 60, 120, 240, 480, 600, 600):
        assert rank(house.attempt(REFUSED, now)) is Rank.FAILING
        assert house.schedule.backing_off == 1
        house.schedule.ring(FIRST, "anna", now + 1)
        assert house.told() == [("anna", REFUSED), ("anna", BACKING_OFF)]
        assert house.take(now + delay - 0.01) == []
        now += delay
    call = house.attempt(SENT, now)
    assert (rank(call), house.schedule.backing_off) == (Rank.PROVEN, 0)
    assert house.fail(now=now + INTERVAL) is call
    assert (
        house.schedule.outlook(FIRST, now + INTERVAL, is_configured=True).wait == 30
    )  # from the beginning again


def test_a_target_that_stays_out_of_reach_is_given_up(house: House) -> None:
    house.fail()
    now = NOW
    while house.schedule.pending:
        now = house.schedule.next_due or math.inf
        for call in house.take(now):
            house.schedule.done(call, REFUSED, now)
    assert house.told()[-1] == ("anna", EXPIRED)
    assert HORIZON <= now - NOW <= HORIZON + 600
    assert (house.schedule.backing_off, house.schedule.next_due) == (0, None)
    # What is known of the target is kept: the next one is tried at once, as a failing one.
    house.schedule.ring(FIRST, "anna", now)
    (call,) = house.take(now)
    assert rank(call) is Rank.FAILING


def test_a_login_ends_the_back_off(house: House) -> None:
    call = house.fail()
    assert house.take(NOW + 5) == []
    house.schedule.logged_in(FIRST, is_configured=True)
    assert (rank(call), house.schedule.backing_off) == (Rank.NEW, 0)
    assert house.take(NOW + 5) == [call]


def test_logins_cause_no_more_than_one_attempt_an_interval(house: House) -> None:
    call = house.fail()
    house.schedule.logged_in(FIRST, is_configured=True)
    assert house.take(NOW + 1) == []
    assert house.schedule.outlook(FIRST, NOW + 1, is_configured=True).wait == INTERVAL - 1
    assert house.take(NOW + INTERVAL) == [call]


def test_a_login_during_an_attempt_that_fails_causes_another_one(house: House) -> None:
    house.schedule.ring(FIRST, "anna", NOW)
    (call,) = house.take(NOW)
    house.schedule.logged_in(FIRST, is_configured=True)
    house.schedule.done(call, REFUSED, NOW + 1)
    assert house.schedule.backing_off == 0
    assert house.take(NOW + 1 + INTERVAL) == [call]


def test_a_login_brings_a_failing_target_among_the_others() -> None:
    house = House(connections=1)
    call = house.fail()
    house.schedule.ring(SECOND, "bob", NOW + 30)
    house.schedule.ring(THIRD, "bob", NOW + 30)
    (second,) = house.take(NOW + 30)
    assert rank(call) is Rank.FAILING
    house.schedule.logged_in(FIRST, is_configured=True)
    assert rank(call) is Rank.NEW
    house.schedule.logged_in(FIRST, is_configured=True)  # and once more, which changes nothing
    assert house.schedule.pending == 3
    house.schedule.done(second, SENT, NOW + 30)
    assert [house.attempt(SENT, NOW + 30).target for _ in range(2)] == [THIRD, FIRST]
    assert (house.take(NOW + 30), house.schedule.pending) == ([], 0)


def test_a_login_forgives_a_target_that_has_nothing_to_wait_for(house: House) -> None:
    house.schedule.ring(FIRST, "anna", NOW, NOW + 1)
    call = house.attempt(REFUSED, NOW)
    house.take(NOW + 30)
    assert house.told() == [("anna", REFUSED), ("anna", EXPIRED)]
    house.schedule.logged_in(FIRST, is_configured=False)
    assert rank(call) is Rank.NEW
    house.schedule.logged_in(SECOND, is_configured=False)  # nothing is known of it
    assert house.schedule.known == 1


def test_no_attempt_is_made_after_the_address_is_too_old(house: House) -> None:
    house.schedule.ring(FIRST, "anna", NOW, NOW + 10)
    house.schedule.ring(SECOND, "bob", NOW, NOW + 1)
    (call,) = house.take(NOW, 1)
    assert (call.target, call.is_configured) == (FIRST, False)
    assert house.take(NOW + 1.5) == []
    assert house.told() == [("bob", EXPIRED)]
    house.schedule.done(call, SENT, NOW + 1.5)
    assert house.schedule.in_flight == 0


def test_an_address_is_called_to_its_last_moment(house: House) -> None:
    house.schedule.ring(FIRST, "anna", NOW, NOW + 10)
    assert house.attempt(SENT, NOW + 10).target == FIRST


def test_an_address_that_is_too_old_delays_no_other(house: House) -> None:
    house.schedule.ring(FIRST, "anna", NOW, NOW + 1)
    house.schedule.ring(SECOND, "bob", NOW)
    assert house.attempt(SENT, NOW + 2).target == SECOND


def test_a_held_notification_expires_with_its_address(house: House) -> None:
    house.schedule.ring(FIRST, "anna", NOW, NOW + 1)
    house.attempt(SENT, NOW)
    house.schedule.ring(FIRST, "anna", NOW + 0.5, NOW + 1)
    assert house.take(NOW + INTERVAL) == []
    assert house.told() == [("anna", SENT), ("anna", COALESCED), ("anna", EXPIRED)]


def test_a_retry_does_not_begin_before_the_interval_is_over() -> None:
    schedule = Schedule(
        interval=60.0,
        backoff=(30.0, 30.0),
        rate=1000.0,
        connections=1,
        deadline=DEADLINE,
        horizon=40.0,
        on_ring=House().rings.append,
        on_due=House().wake,
        steady=lambda: NOW,
        secret=bytes(SECRET),
    )
    schedule.ring(FIRST, "anna", NOW)
    (call,) = schedule.take(NOW, 1)
    schedule.done(call, REFUSED, NOW)
    assert schedule.take(NOW + 30, 1) == []
    assert schedule.take(NOW + 60, 1) == [call]
    schedule.done(call, REFUSED, NOW + 60)
    assert schedule.take(NOW + 90, 1) == []  # too old by now, and its interval is not over
    assert (schedule.pending, schedule.outlook(FIRST, NOW + 90, is_configured=True).wait) == (0, 30)


def test_a_late_attempt_fails(house: House) -> None:
    house.schedule.ring(FIRST, "anna", NOW)
    (call,) = house.take(NOW)
    assert house.schedule.next_due == NOW + DEADLINE
    assert house.schedule.overdue(NOW + 1.9) == []
    assert house.schedule.overdue(NOW + DEADLINE) == [call]
    assert house.told() == [("anna", TIMEOUT)]
    assert (house.schedule.backing_off, house.schedule.in_flight) == (1, 0)


def test_whoever_makes_the_attempt_may_say_what_late_means(house: House) -> None:
    house.schedule.ring(FIRST, "anna", NOW)
    (call,) = house.take(NOW)
    call.late = RingOutcome.NAME_UNKNOWN
    house.schedule.overdue(NOW + DEADLINE)
    assert house.told() == [("anna", RingOutcome.NAME_UNKNOWN)]


@pytest.mark.parametrize("logs_in", [False, True])
def test_a_displaced_attempt_is_made_again(logs_in: bool) -> None:
    house = House(connections=1)
    house.schedule.ring(FIRST, "anna", NOW)
    (call,) = house.take(NOW)
    house.schedule.ring(SECOND, "bob", NOW)
    if logs_in:
        house.schedule.logged_in(FIRST, is_configured=True)
    assert house.schedule.overdue(NOW + PATIENCE) == [call]
    assert (house.told(), rank(call)) == ([], Rank.NEW if logs_in else Rank.FAILING)
    assert house.attempt(SENT, NOW + PATIENCE).target == SECOND
    assert house.attempt(SENT, NOW + 1) is call
    assert house.told() == [("bob", SENT), ("anna", SENT)]


def test_an_attempt_that_could_not_begin_is_made_again(house: House) -> None:
    house.schedule.ring(FIRST, "anna", NOW)
    (call,) = house.take(NOW)
    house.schedule.postpone(call)
    assert (house.told(), house.schedule.in_flight, house.schedule.pending) == ([], 0, 1)
    assert house.take(NOW) == [call]
    assert list(house.schedule.waiting()) == ["anna"]


def test_a_target_that_may_not_be_called_is_not_tried_again(house: House) -> None:
    house.schedule.ring(FIRST, "anna", NOW)
    call = house.attempt(RingOutcome.NOT_ALLOWED, NOW)
    assert (rank(call), house.schedule.pending, house.schedule.backing_off) == (Rank.NEW, 0, 0)
    assert house.take(NOW + 600) == []


def test_the_total_rate_is_kept() -> None:
    house = House(rate=20.0)  # two at once
    for number in range(5):
        house.schedule.ring(target(number), "anna", NOW)
    assert len(house.take(NOW)) == 2
    due = house.schedule.next_due
    assert due is not None
    assert NOW + 0.05 <= due <= NOW + 0.06
    assert len(house.take(NOW + 0.06)) == 1


def test_one_turn_takes_no_more_than_it_may(house: House) -> None:
    for number in range(5):
        house.schedule.ring(target(number), "anna", NOW)
    assert [len(house.take(NOW, 3)), len(house.take(NOW, 3))] == [3, 2]


def test_half_of_the_targets_do_not_delay_the_other_half() -> None:
    """1,000 targets, every other one a black hole, all rung at once, 256 places."""
    house = House(rate=100_000.0, most=2000)
    reachable = {target(number) for number in range(0, 1000, 2)}
    for number in range(1000):
        house.schedule.ring(target(number), "anna", NOW)
    rung = dict(drive(house, reachable, NOW, NOW + 60))
    assert set(rung) == reachable
    # At most 224 new ones at once, a turn of 0.3 s for the silent ones among them.
    assert max(rung.values()) <= NOW + 1.5


def test_ten_thousand_silent_targets_delay_no_proven_one() -> None:
    house = House(rate=100_000.0, most=20_000)
    proven = [target(number) for number in range(32)]
    for place in proven:
        house.schedule.ring(place, "anna", NOW)
    assert len(dict(drive(house, set(proven), NOW, NOW + 5))) == 32
    for number in range(100, 10_100):
        house.schedule.ring(target(number), "bob", NOW + 5)
    for place in proven:
        house.schedule.ring(place, "anna", NOW + 5)
    rung = dict(drive(house, set(proven), NOW + 5, NOW + 7))
    assert set(rung) == set(proven)
    assert max(rung.values()) <= NOW + 5.1  # a round trip, as if there were no other


def drive(
    house: House, reachable: set[Target], now: float, end: float
) -> Iterator[tuple[Target, float]]:
    """Play a network with a round trip of 50 ms; yield what is reached, and when."""
    flights: dict[Call, float] = {}
    while now < end:
        for call, ends in list(flights.items()):
            if ends <= now:
                del flights[call]
                house.schedule.done(call, SENT, now)
                yield call.target, now
        for call in house.schedule.overdue(now):
            flights.pop(call, None)
        while calls := house.take(now):
            flights |= {call: now + 0.05 for call in calls if call.target in reachable}
        now += 0.01


def test_what_a_notification_would_do(house: House) -> None:
    def outlook(now: float) -> Outlook:
        return house.schedule.outlook(FIRST, now, is_configured=True)

    assert outlook(NOW) == Outlook(is_in_flight=False, backs_off=False, wait=0, last=None)
    house.schedule.ring(FIRST, "anna", NOW)
    (call,) = house.take(NOW)
    assert outlook(NOW) == Outlook(is_in_flight=True, backs_off=False, wait=0, last=None)
    house.schedule.done(call, SENT, NOW)
    assert outlook(NOW + 0.5) == Outlook(is_in_flight=False, backs_off=False, wait=1.5, last=SENT)
    assert outlook(NOW + 9).wait == 0
    house.schedule.ring(FIRST, "anna", NOW + 9)
    house.attempt(REFUSED, NOW + 9)
    assert outlook(NOW + 10) == Outlook(is_in_flight=False, backs_off=True, wait=29, last=REFUSED)


def test_the_number_of_states_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_schedule, "REMEMBERED", 2)
    house = House(most=3)
    for number in range(3):
        house.schedule.ring(target(number), "anna", NOW)
        house.attempt(SENT, NOW)
    assert house.schedule.known == 3
    house.take(NOW + INTERVAL)
    assert house.schedule.known == 2  # idle ones are remembered for a while, and not all
    assert house.schedule.outlook(target(0), NOW, is_configured=True).last is None


def test_if_there_are_too_many_an_idle_one_is_forgotten_first() -> None:
    house = House(most=2)
    house.schedule.ring(FIRST, "anna", NOW)
    house.attempt(SENT, NOW)
    house.fail(SECOND)
    house.take(NOW + INTERVAL)
    house.schedule.ring(THIRD, "bob", NOW + 5)
    assert (house.told(), house.schedule.known) == ([], 2)
    house.schedule.ring(FIRST, "carl", NOW + 5)
    # The third one waits, so the second one goes, which cannot be reached.
    assert house.told() == [("anna", EXPIRED)]
    house.schedule.ring(SECOND, "dora", NOW + 5)
    # Now all have something to do.
    assert (house.told(), house.schedule.known) == ([("dora", EXPIRED)], 2)


def test_accounts_that_still_wait_are_known_for_a_restart(house: House) -> None:
    house.schedule.ring(FIRST, "anna", NOW)
    house.schedule.ring(SECOND, "bob", NOW)
    house.schedule.ring(THIRD, "carl", NOW)
    first, second, _ = house.take(NOW)
    house.schedule.done(first, SENT, NOW)
    house.schedule.done(second, REFUSED, NOW)
    assert sorted(house.schedule.waiting()) == ["bob", "carl"]


def test_every_account_that_waits_at_a_target_is_known_for_a_restart(house: House) -> None:
    house.schedule.ring(FIRST, "anna", NOW)
    (call,) = house.take(NOW)
    house.schedule.ring(FIRST, "bob", NOW)
    house.schedule.ring(FIRST, "anna", NOW)
    house.schedule.done(call, REFUSED, NOW)
    assert list(house.schedule.waiting()) == ["anna", "bob"]
    assert house.schedule.pending == 1
    house.schedule.ring(FIRST, "carl", NOW + 1)
    assert list(house.schedule.waiting()) == ["anna", "bob", "carl"]
    house.attempt(SENT, NOW + 30)
    assert list(house.schedule.waiting()) == []


def test_the_accounts_that_are_remembered_for_a_target_are_bounded(house: House) -> None:
    for number in range(2 * SHARED):
        house.schedule.ring(FIRST, f"account{number}", NOW)
    (call,) = house.take(NOW)
    for number in range(2 * SHARED):
        house.schedule.ring(FIRST, f"other{number}", NOW)
    assert len(list(house.schedule.waiting())) == 2 * SHARED
    house.schedule.done(call, REFUSED, NOW)
    assert list(house.schedule.waiting()) == [f"account{number}" for number in range(SHARED)]


def test_no_one_can_choose_addresses_of_one_hash() -> None:
    """CPython's hash of a number is the number modulo 2**61 - 1."""
    prime = (1 << 61) - 1
    first = (0x2001_0DB8 << 96) // prime + 1
    targets = [
        Target(Address(Family.IPV6, (first + n) * prime + 5), 79, Transport.TCP)
        for n in range(20_000)
    ]
    assert len(set(map(hash, targets))) == 1
    keys = {login_key(each, b"sixteen bytes...") for each in targets}
    assert len({hash(key) for key in keys}) == len(targets)
    # The secret counts, and not only the seed of this interpreter.
    assert not keys & {login_key(each, bytes(SECRET)) for each in targets}
    house = House(most=100)
    for each in targets[:2]:
        house.schedule.ring(each, "anna", NOW, NOW + 1)
    assert all(isinstance(call.key, bytes) for call in house.take(NOW))


def test_the_key_of_a_login_tells_targets_apart() -> None:
    address = Address(Family.IPV6, 0xC0000200)
    places = [
        FIRST,
        Target(address, 79, Transport.TCP),
        Target(address, 80, Transport.TCP),
        Target(address, 79, Transport.UDP),
    ]
    assert len({login_key(each, bytes(SECRET)) for each in places}) == 4
    name = Target("laptop.example.net", 79, Transport.TCP)
    assert login_key(name, bytes(SECRET)) is name


def test_a_login_that_is_a_lie_delays_no_configured_target(house: House) -> None:
    house.schedule.ring(FIRST, "liar", NOW, NOW + 1800)
    house.attempt(REFUSED, NOW)
    house.schedule.ring(FIRST, "anna", NOW + 1)
    house.told()
    assert house.attempt(SENT, NOW + 1).is_configured
    assert house.told() == [("anna", SENT)]
    outlooks = [
        house.schedule.outlook(FIRST, NOW + 9, is_configured=each) for each in (True, False)
    ]
    assert [each.backs_off for each in outlooks] == [False, True]
    house.schedule.logged_in(FIRST, is_configured=True)
    assert house.schedule.backing_off == 1


def test_if_there_are_too_many_those_of_logins_are_given_up_first() -> None:
    house = House(most=3)
    house.fail(FIRST)
    house.schedule.ring(SECOND, "liar", NOW, NOW + 1800)
    house.schedule.ring(THIRD, "liar", NOW, NOW + 1800)
    for call in house.take(NOW):
        house.schedule.done(call, REFUSED, NOW)
    house.told()
    house.schedule.ring(target(3), "liar", NOW, NOW + 1800)
    house.attempt(REFUSED, NOW)
    house.schedule.ring(target(4), "bob", NOW)
    house.schedule.ring(target(5), "carl", NOW)
    assert house.told() == [
        ("liar", EXPIRED),
        ("liar", REFUSED),
        ("liar", EXPIRED),
        ("liar", EXPIRED),
    ]
    # What is left is configured: a login pushes none of it out.
    house.schedule.ring(target(6), "liar", NOW, NOW + 1800)
    assert house.told() == [("liar", EXPIRED)]
    assert sorted(house.schedule.waiting()) == ["anna", "bob", "carl"]
    house.schedule.ring(target(7), "dora", NOW)
    assert house.told() == [("anna", EXPIRED)]


def test_the_age_of_an_address_counts_on_while_the_machine_sleeps(house: House) -> None:
    house.schedule.ring(FIRST, "anna", NOW, NOW + 1800)
    house.attempt(REFUSED, NOW)
    house.told()
    house.now = NOW + 36_000
    assert house.schedule.take(NOW + 31, 1) == []
    assert house.told() == [("anna", EXPIRED)]


def withdraw_while_it_waits(house: House, until: float) -> None:
    house.schedule.ring(FIRST, "anna", NOW, until)
    house.attempt(REFUSED, NOW)
    house.schedule.withdraw(FIRST, "anna")


def test_a_target_out_of_reach_is_given_up_when_its_login_is_withdrawn(house: House) -> None:
    withdraw_while_it_waits(house, NOW + 1800)
    assert house.told() == [("anna", REFUSED), ("anna", EXPIRED)]
    assert (house.schedule.pending, house.schedule.backing_off) == (0, 0)
    house.take(NOW + INTERVAL)
    assert house.schedule.next_due is None
    house.schedule.withdraw(SECOND, "anna")  # nothing is known of it


def test_a_configured_target_is_never_withdrawn(house: House) -> None:
    withdraw_while_it_waits(house, math.inf)
    assert (house.told(), house.schedule.backing_off) == ([("anna", REFUSED)], 1)


@pytest.mark.parametrize("others", [1, SHARED - 1, SHARED])
def test_a_target_waits_on_for_other_accounts(house: House, others: int) -> None:
    for number in range(others):
        house.schedule.ring(FIRST, f"bob{number}", NOW, NOW + 1800)
    withdraw_while_it_waits(house, NOW + 1800)
    assert house.schedule.backing_off == 1
    for number in range(others):
        house.schedule.withdraw(FIRST, f"bob{number}")
    # The one that has no place in the list of names may still wait.
    assert house.schedule.backing_off == (0 if others < SHARED else 1)


def test_an_attempt_is_not_repeated_for_a_login_that_is_withdrawn(house: House) -> None:
    house.schedule.ring(FIRST, "anna", NOW, NOW + 1800)
    (call,) = house.take(NOW)
    house.schedule.withdraw(FIRST, "anna")
    house.schedule.done(call, REFUSED, NOW)
    assert house.told() == [("anna", REFUSED), ("anna", EXPIRED)]
    assert (house.schedule.pending, rank(call)) == (0, Rank.FAILING)


def test_a_displaced_attempt_ends_if_its_login_is_withdrawn() -> None:
    house = House(connections=1)
    house.schedule.ring(FIRST, "anna", NOW, NOW + 1800)
    (call,) = house.take(NOW)
    house.schedule.withdraw(FIRST, "anna")
    house.schedule.ring(SECOND, "bob", NOW)
    assert house.schedule.overdue(NOW + PATIENCE) == [call]
    assert house.told() == [("anna", EXPIRED)]


def test_a_failing_target_leaves_the_queue_when_its_login_is_withdrawn() -> None:
    house = House(connections=1)
    house.schedule.ring(FIRST, "anna", NOW, NOW + 1800)
    house.attempt(REFUSED, NOW)
    house.schedule.ring(SECOND, "bob", NOW + 30)
    house.schedule.ring(THIRD, "bob", NOW + 30, NOW + 1800)
    (second,) = house.take(NOW + 30)
    house.told()
    house.schedule.withdraw(FIRST, "anna")
    assert house.told() == [("anna", EXPIRED)]
    house.schedule.withdraw(THIRD, "bob")  # a new one has its attempt
    assert (house.told(), house.schedule.pending) == ([], 2)
    house.schedule.done(second, SENT, NOW + 30)
    assert house.attempt(SENT, NOW + 30).target == THIRD
    assert house.take(NOW + 30) == []
    assert house.told() == [("bob", SENT), ("bob", SENT)]


def test_a_late_attempt_is_known(house: House) -> None:
    assert not house.schedule.is_late(NOW)
    house.schedule.ring(FIRST, "anna", NOW)
    house.take(NOW)
    assert [house.schedule.is_late(NOW + each) for each in (1.9, DEADLINE)] == [False, True]


def test_an_attempt_that_fails_after_its_login_was_withdrawn_is_a_failure(house: House) -> None:
    house.schedule.ring(FIRST, "anna", NOW, NOW + 1800)
    (call,) = house.take(NOW)
    house.schedule.withdraw(FIRST, "anna")
    house.schedule.done(call, REFUSED, NOW)
    assert (call.failures, call.until, rank(call)) == (1, -math.inf, Rank.FAILING)


def test_each_ring_tells_its_target() -> None:
    house = House(most=1)
    house.schedule.ring(FIRST, "anna", NOW)
    house.schedule.ring(FIRST, "bob", NOW)
    house.schedule.ring(SECOND, "carl", NOW)  # there is no place for it
    house.attempt(REFUSED, NOW)
    house.schedule.ring(SECOND, "dora", NOW, NOW + 1)  # nor for that of a login
    house.schedule.ring(SECOND, "dora", NOW)
    house.take(NOW)
    assert house.rings == [
        Ring("bob", FIRST, COALESCED),
        Ring("carl", SECOND, EXPIRED),
        Ring("bob", FIRST, REFUSED),
        Ring("dora", SECOND, EXPIRED),
        Ring("bob", FIRST, EXPIRED),
    ]


def test_a_ring_that_expires_tells_its_target(house: House) -> None:
    house.schedule.ring(FIRST, "anna", NOW, NOW + 1)
    house.take(NOW + 2)
    assert house.rings == [Ring("anna", FIRST, EXPIRED)]


def test_the_numbers_of_states_without_another_one() -> None:
    assert (MOST, REMEMBERED, SHARED) == (131_072, 4096, 32)


def test_an_idle_target_that_is_rung_again_is_not_forgotten() -> None:
    house = House(most=1)
    house.schedule.ring(FIRST, "anna", NOW)
    house.attempt(SENT, NOW)
    house.take(NOW + INTERVAL)
    house.schedule.ring(FIRST, "anna", NOW + 5)
    house.told()
    house.schedule.ring(SECOND, "bob", NOW + 5)
    assert (house.told(), list(house.schedule.waiting())) == ([("bob", EXPIRED)], ["anna"])


def test_the_one_that_is_idle_longest_is_forgotten() -> None:
    house = House(most=2)
    for place in (FIRST, SECOND):
        house.schedule.ring(place, "anna", NOW)
        house.attempt(SENT, NOW)
    house.take(NOW + INTERVAL)
    house.schedule.ring(THIRD, "anna", NOW + 5)
    found = [house.schedule.outlook(each, NOW, is_configured=True).last for each in (FIRST, SECOND)]
    assert found == [None, SENT]


def test_one_that_is_given_up_for_another_is_due_no_more() -> None:
    house = House(most=1)
    house.fail()
    house.schedule.ring(SECOND, "bob", NOW + 1)
    house.take(NOW + 1)
    assert house.schedule.next_due == NOW + 1 + DEADLINE


def test_a_target_that_was_reached_has_nobody_who_waits(house: House) -> None:
    house.schedule.ring(FIRST, "anna", NOW, NOW + 1800)
    house.attempt(SENT, NOW)
    house.schedule.ring(FIRST, "anna", NOW + 1, NOW + 1800)
    house.attempt(REFUSED, NOW + INTERVAL)
    house.schedule.withdraw(FIRST, "anna")
    assert house.schedule.backing_off == 0


def test_a_target_is_given_up_at_the_end_of_its_time_and_not_later(house: House) -> None:
    house.fail()
    delays = (30, 60, 120, 240, 480, 600)
    for now in (NOW + sum(delays[:count]) for count in range(1, len(delays) + 1)):
        house.attempt(REFUSED, now)
    # The next attempt would be 2,130 s after the first one.
    house.schedule.ring(FIRST, "anna", NOW + 2130 - HORIZON)
    house.told()
    assert house.take(NOW + 2130) == []
    assert house.told() == [("anna", EXPIRED)]


def test_failures_count_on_if_a_login_is_withdrawn(house: House) -> None:
    house.schedule.ring(FIRST, "anna", NOW, NOW + 1800)
    house.attempt(REFUSED, NOW)
    (call,) = house.take(NOW + 30)
    house.schedule.withdraw(FIRST, "anna")
    house.schedule.done(call, REFUSED, NOW + 30)
    house.schedule.ring(FIRST, "anna", NOW + 60, NOW + 1800)
    house.attempt(REFUSED, NOW + 60)
    assert house.schedule.outlook(FIRST, NOW + 60, is_configured=False).wait == 120


@pytest.mark.parametrize("comes", ["before the attempt", "during the attempt"])
def test_after_a_login_the_back_off_begins_from_the_beginning(house: House, comes: str) -> None:
    house.fail()
    if comes == "before the attempt":
        house.schedule.logged_in(FIRST, is_configured=True)
    (call,) = house.take(NOW + 30)
    if comes == "during the attempt":
        house.schedule.logged_in(FIRST, is_configured=True)
        house.schedule.done(call, REFUSED, NOW + 30)
        assert rank(call) is Rank.NEW
        assert house.take(NOW + 40) == [call]
    house.schedule.done(call, REFUSED, NOW + 40)
    assert house.schedule.outlook(FIRST, NOW + 40, is_configured=True).wait == 30


def test_what_comes_right_after_one_that_expired_is_sent_after_the_interval(house: House) -> None:
    withdraw_while_it_waits(house, NOW + 1800)
    house.schedule.ring(FIRST, "bob", NOW + 1, NOW + 1800)
    assert house.attempt(SENT, NOW + INTERVAL).account == "bob"
