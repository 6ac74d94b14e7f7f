"""What the status tells of the rings so far. It is bounded, whatever is rung."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailbell.core.networks import Address, Family
from mailbell.core.notification import Transport
from mailbell.core.sender_outcome import RingOutcome
from mailbell.core.target import Target
from mailbell.interfaces.sender_status import RECENT, Latency
from mailbell.sender._recent import Delays, Recent
from mailbell.sender._ring import Ring


def target(number: int) -> Target:
    return Target(Address(Family.IPV4, 0xC0000200 + number), 79, Transport.TCP)


def never(_: Target) -> float | None:
    return None


def test_a_ring_is_counted_for_its_account_and_its_target() -> None:
    recent = Recent()
    recent.note(Ring("anna", target(7), RingOutcome.SENT, 0.3, waited=0.001), 10.0)
    recent.note(Ring("anna", target(7), RingOutcome.TIMEOUT, 2000.0), 12.0)
    (account,) = recent.accounts(15.0)
    assert (account.name, account.rings, account.last) == ("anna", 2, RingOutcome.TIMEOUT)
    assert account.age == 3_000_000
    (one,) = recent.targets(15.0, lambda _: 45.0)
    assert (one.target, one.attempts, one.sent) == ("192.0.2.7:79", 2, 1)
    assert (one.last, one.age, one.took) == (RingOutcome.TIMEOUT, 3_000_000, 2_000_000)
    assert one.wait == 30_000_000
    assert recent.latency().count == 1


def test_what_was_not_tried_is_no_attempt() -> None:
    recent = Recent()
    for outcome in (RingOutcome.COALESCED, RingOutcome.BACKING_OFF, RingOutcome.EXPIRED):
        recent.note(Ring("anna", target(7), outcome), 1.0)
    recent.note(Ring("bob", None, RingOutcome.NO_TARGET), 2.0)
    assert recent.targets(2.0, never) == ()
    assert [one.name for one in recent.accounts(2.0)] == ["bob", "anna"]
    assert recent.latency().p50 is recent.latency().p99 is None


def test_targets_out_of_reach_are_named_however_busy_the_sender_is() -> None:
    recent = Recent()
    recent.note(Ring("anna", target(0), RingOutcome.UNREACHABLE, 1.0), 1.0)
    for number in range(1, 1000):
        recent.note(Ring(f"user{number}", target(number % 250 + 1), RingOutcome.SENT), number)
    names = [one.target for one in recent.targets(1000.0, never)]
    assert "192.0.2.0:79" in names
    assert len(names) <= RECENT
    assert len(recent.accounts(1000.0)) == RECENT


def test_a_target_that_is_reached_again_is_named_once() -> None:
    recent = Recent()
    for outcome in (RingOutcome.REFUSED, RingOutcome.SENT, RingOutcome.RESET, RingOutcome.SENT):
        recent.note(Ring("anna", target(1), outcome), 1.0)
    (one,) = recent.targets(1.0, never)
    assert (one.attempts, one.sent, one.wait) == (4, 2, None)


def test_a_time_is_never_negative() -> None:
    """A back-off may have ended since, and floating-point numbers round."""
    recent = Recent()
    recent.note(Ring("anna", target(1), RingOutcome.REFUSED), 5.0)
    (one,) = recent.targets(4.9, lambda _: 4.0)
    assert (one.age, one.wait) == (0, 0)
    assert recent.accounts(4.9)[0].age == 0


@given(st.lists(st.floats(1e-6, 1e6), min_size=1), st.sampled_from([0.5, 0.99]))
def test_a_quantile_is_at_most_a_fifth_too_high(times: list[float], share: float) -> None:
    delays = Delays()
    for seconds in times:
        delays.add(seconds)
    found = delays.quantile(share)
    assert found is not None
    # No more than the share may be below, and at least the share must be at or below.
    true = sorted(times)[max(0, -int(-share * len(times) // 1) - 1)] * 1e6
    assert true * 0.999 - 1 <= found <= true * 1.2001 + 2


def test_the_shortest_and_the_longest_time_have_a_bucket() -> None:
    delays = Delays()
    assert delays.quantile(0.5) is None
    delays.add(0.0)
    delays.add(1e-6)
    assert delays.quantile(1.0) == 1
    delays.add(1e12)
    days = (delays.quantile(1.0) or 0) / 86_400e6
    assert 44 < days < 46


def test_the_latency_is_the_median_and_what_one_of_a_hundred_exceeds() -> None:
    recent = Recent()
    for waited in (*[1e-6] * 50, *[1e-3] * 49, 1.0):
        recent.note(Ring("anna", target(1), RingOutcome.SENT, waited=waited), 1.0)
    assert recent.latency() == Latency(count=100, p50=1, p99=1021)


def test_the_latest_comes_first_in_reach_or_not() -> None:
    recent = Recent()
    for second, (number, outcome) in enumerate(
        [(5, RingOutcome.SENT), (1, RingOutcome.TIMEOUT), (3, RingOutcome.SENT),
         (9, RingOutcome.REFUSED)]
    ):  # fmt: skip
        recent.note(Ring(f"user{number}", target(number), outcome), float(second))
    found = recent.targets(10.0, {target(1): 12.0}.get)
    assert [(one.target, one.age) for one in found] == [
        ("192.0.2.9:79", 7_000_000),
        ("192.0.2.3:79", 8_000_000),
        ("192.0.2.1:79", 9_000_000),
        ("192.0.2.5:79", 10_000_000),
    ]
    assert [one.wait for one in found] == [None, None, 2_000_000, None]
    assert [one.sent for one in found] == [0, 1, 0, 1]
    assert [one.name for one in recent.accounts(10.0)] == ["user9", "user3", "user1", "user5"]


@pytest.mark.parametrize("outcome", [RingOutcome.SENT, RingOutcome.TIMEOUT])
def test_the_latest_targets_are_remembered(outcome: RingOutcome) -> None:
    recent = Recent()
    most = RECENT // 2
    for number in range(most + 2):
        recent.note(Ring("anna", target(number), outcome), float(number))
    expected = [str(target(number)) for number in reversed(range(2, most + 2))]
    assert [one.target for one in recent.targets(1000.0, never)] == expected


def test_what_a_target_took_is_told_to_the_microsecond() -> None:
    recent = Recent()
    recent.note(Ring("anna", target(1), RingOutcome.SENT, 1.2345), 1.0)
    assert recent.targets(1.0, never)[0].took == 1234


def test_the_quantiles_of_many_times() -> None:
    delays = Delays()
    times = random.Random(1).sample(range(1, 100_001), 10_000)
    for microseconds in times:
        delays.add(microseconds / 1e6)
    assert 50_000 <= (delays.quantile(0.5) or 0) * 1.02 <= 62_000
    assert delays.count == 10_000
