"""Which refused notifications ring: one at once, and one at the end of each interval."""

import itertools
from math import inf

from hypothesis import given
from hypothesis import strategies as st

from mailbell.sender._accounts import Account
from mailbell.sender._late_rings import LATE, MOST, LateRings

ANNA, BOB = Account("anna", ()), Account("bob", ())


def names(it: LateRings, now: float) -> list[str]:
    return [account.name for account in it.due(now)]


def test_the_first_rings_at_once_and_the_last_at_the_end_of_the_interval() -> None:
    it = LateRings()
    assert it.rings_now(ANNA, 10.0)
    assert it.next_due == inf
    assert not any(it.rings_now(ANNA, 10.0 + LATE / 2) for _ in range(1000))
    assert it.next_due == 10.0 + LATE
    assert names(it, 10.0 + LATE / 2) == []
    assert names(it, 10.0 + LATE) == ["anna"]
    assert names(it, 10.0 + 9 * LATE) == []
    assert it.next_due == inf


def test_an_account_rings_at_once_again_after_a_second() -> None:
    it = LateRings()
    assert LATE == 1.0
    assert it.rings_now(ANNA, 10.0)
    assert it.rings_now(ANNA, 11.0)
    assert not it.rings_now(ANNA, 11.9)
    assert it.next_due == 12.0


def test_what_rings_late_holds_back_the_next_one_too() -> None:
    it = LateRings()
    it.rings_now(ANNA, 0.0)
    it.rings_now(ANNA, 0.0)
    assert names(it, LATE) == ["anna"]
    assert not it.rings_now(ANNA, 1.5 * LATE)
    assert it.next_due == 2 * LATE


def test_accounts_do_not_hold_each_other_back() -> None:
    it = LateRings()
    assert it.rings_now(ANNA, 0.0)
    assert not it.rings_now(ANNA, 0.0)
    assert it.rings_now(BOB, 0.5 * LATE)
    assert it.rings_now(BOB, 2 * LATE) is False, "anna's ring is due and was not fetched yet"
    assert names(it, 2 * LATE) == ["anna", "bob"]


def test_the_caller_is_woken_when_there_is_something_to_wait_for() -> None:
    it = LateRings()
    woken: list[str] = []
    it.rings_now(ANNA, 0.0)
    it.rings_now(BOB, 0.0)
    it.rings_now(ANNA, 0.0)  # nobody waits yet
    assert names(it, inf) == ["anna"]
    it.wake = lambda: woken.append("woken")
    it.rings_now(ANNA, 0.0)
    assert woken == ["woken"]
    it.rings_now(BOB, 0.0)
    assert woken == ["woken"]


def test_at_the_end_all_ring_at_once() -> None:
    it = LateRings()
    for account in (ANNA, BOB) * 2:
        it.rings_now(account, 0.0)
    assert sorted(names(it, inf)) == ["anna", "bob"]


def test_a_hundred_thousand_accounts_take_bounded_memory_and_none_is_lost() -> None:
    it = LateRings()
    accounts = [Account(str(number), ()) for number in range(3 * MOST)]
    assert all(it.rings_now(account, 0.0) for account in accounts)
    assert len(it._held) == MOST == 4096
    assert sum(it.rings_now(account, 0.0) for account in accounts) == 2 * MOST
    assert len(names(it, LATE)) == MOST
    assert it.rings_now(ANNA, 9 * LATE)
    assert len(it._held) == 1


@given(st.lists(st.tuples(st.floats(0, 0.4), st.sampled_from([ANNA, BOB])), max_size=60))
def test_each_notification_is_followed_by_a_ring_and_rings_are_rare(
    steps: list[tuple[float, Account]],
) -> None:
    it = LateRings()
    now, came, rung = 0.0, dict[str, float](), dict[str, list[float]]()

    def fetch(until: float) -> None:
        while it.next_due <= until:
            due = it.next_due
            for name in names(it, due):
                rung.setdefault(name, []).append(due)

    for wait, account in steps:
        now += wait
        fetch(now)
        came[account.name] = now
        if it.rings_now(account, now):
            rung.setdefault(account.name, []).append(now)
    fetch(now + 2 * LATE)
    for name, last in came.items():
        assert last <= rung[name][-1] <= last + LATE
        times = rung[name]
        assert all(b - a >= LATE - 1e-9 for a, b in itertools.pairwise(times))
