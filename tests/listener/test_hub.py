from collections import Counter
from collections.abc import Callable
from itertools import pairwise
from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailbell.core.networks import Family
from mailbell.core.notification import Cause, Cursor, Notification, Transport
from mailbell.listener._hub import MANUAL, PORTION, Hub, Origin
from mailbell.listener._wakeups import Subscriber

ACCOUNTS = ("a", "b", "c")
INTERVAL = 1.0
BY_TCP = Origin(Cause.NETWORK, Transport.TCP, Family.IPV4, 0xC0000219)


def make_hub(**options: object) -> Hub:
    return Hub(ACCOUNTS, interval=INTERVAL, epoch="now", started=7, **options)  # type: ignore[arg-type]


def nothing() -> None:
    pass


def drain(subscriber: Subscriber) -> list[Notification]:
    taken = []
    while (notification := subscriber.take()) is not None:
        taken.append(notification)
    return taken


def test_a_ring_is_told_at_once_with_where_it_came_from() -> None:
    hub = make_hub()
    woken: list[bool] = []
    subscriber = hub.subscribe(None, None, lambda: woken.append(True))

    hub.ring("b", BY_TCP, now=10.0, time=1234)

    assert woken == [True]
    assert subscriber.waiting
    expected = Notification("b", Cause.NETWORK, 1, Transport.TCP, "192.0.2.25", 1234)
    assert drain(subscriber) == [expected]
    assert subscriber.take() is None
    assert subscriber.cursor == hub.cursor == Cursor("now", 1)


def test_a_ring_by_hand_has_no_source() -> None:
    hub = make_hub()
    subscriber = hub.subscribe(None, None, nothing)
    hub.ring("a", MANUAL, now=0.0, time=1)
    assert drain(subscriber) == [Notification("a", Cause.MANUAL, 1, None, None, 1)]


def test_the_beginning_of_the_clock_is_a_time_too() -> None:
    hub = make_hub()
    subscriber = hub.subscribe(None, None, nothing)
    hub.ring("a", MANUAL, now=0.0, time=0)
    assert [told.time for told in drain(subscriber)] == [0]


def test_times_are_those_of_the_clock_when_they_are_told() -> None:
    """Times from before a change of the wall clock are told by the clock as it is now."""
    offset = 0
    hub = make_hub(time_of=lambda stamp: stamp + offset)
    subscriber = hub.subscribe(None, None, nothing)
    hub.ring("a", MANUAL, now=0.0, time=10)
    offset = 1000
    hub.ring("b", MANUAL, now=0.0, time=20)
    assert [told.time for told in drain(subscriber)] == [10, 1020]
    behind = hub.subscribe(None, Cursor("now", 0), nothing)
    assert [told.time for told in drain(behind)] == [1010, 1020]


def test_the_trailing_wake_up_is_announced_and_delivered() -> None:
    announced: list[float | None] = []
    hub = Hub(
        ACCOUNTS,
        interval=INTERVAL,
        epoch="now",
        started=0,
        on_due=lambda: announced.append(hub.next_due),
    )
    subscriber = hub.subscribe(None, None, nothing)
    hub.ring("a", BY_TCP, now=0.0, time=1)
    drain(subscriber)
    assert hub.next_due is None

    hub.ring("a", BY_TCP, now=0.25, time=2)
    hub.ring("a", BY_TCP, now=0.5, time=3)

    assert announced == [1.0]
    hub.tick(0.75)
    assert not subscriber.waiting
    hub.tick(1.0)
    assert [n.count for n in drain(subscriber)] == [2]
    assert hub.next_due is None


def test_a_wake_up_delivered_before_its_tick_is_not_delivered_again() -> None:
    hub = make_hub()
    subscriber = hub.subscribe(None, None, nothing)
    hub.ring("a", BY_TCP, now=0.0, time=1)
    hub.ring("a", BY_TCP, now=0.5, time=2)
    hub.ring("a", BY_TCP, now=1.5, time=3)  # the tick of 1.0 is late
    assert sum(n.count for n in drain(subscriber)) == 3
    hub.tick(1.5)
    assert drain(subscriber) == []


def test_every_wake_up_is_logged_once_however_many_subscribe() -> None:
    logged: list[Notification] = []
    hub = make_hub(on_wakeup=logged.append)
    hub.subscribe(None, None, nothing)
    hub.subscribe(None, None, nothing)
    hub.ring("a", BY_TCP, now=0.0, time=1)
    assert [n.account for n in logged] == ["a"]


def test_a_subscription_covers_its_accounts_only_and_ends() -> None:
    hub = make_hub()
    subscriber = hub.subscribe(["a"], None, nothing)
    hub.ring("b", BY_TCP, now=0.0, time=1)
    assert drain(subscriber) == []
    hub.unsubscribe(subscriber)
    hub.unsubscribe(subscriber)
    hub.ring("a", BY_TCP, now=0.0, time=1)
    assert drain(subscriber) == []
    assert hub.subscribers == 0


def test_who_reads_slowly_gets_one_notification_that_stands_for_many() -> None:
    hub = make_hub()
    subscriber = hub.subscribe(None, None, nothing)
    for second in range(100):
        hub.ring("a", BY_TCP, now=float(second), time=second)
    assert drain(subscriber) == [
        Notification("a", Cause.NETWORK, 100, Transport.TCP, "192.0.2.25", 99)
    ]


def test_another_epoch_means_look_once_at_everything() -> None:
    hub = make_hub()
    hub.ring("b", BY_TCP, now=0.0, time=9)
    subscriber = hub.subscribe(None, Cursor("before", 5), nothing)
    told = drain(subscriber)
    assert {n.account for n in told} == set(ACCOUNTS)
    assert {n.cause for n in told} == {Cause.RESYNC}
    assert {n.count for n in told} == {0}
    assert {n.account: n.time for n in told} == {"a": 7, "b": 9, "c": 7}


def test_a_cursor_that_was_never_given_out_proves_nothing() -> None:
    hub = make_hub()
    subscriber = hub.subscribe(["a"], Cursor("now", 1), nothing)
    assert [n.cause for n in drain(subscriber)] == [Cause.RESYNC]


def test_an_up_to_date_cursor_means_nothing_was_missed() -> None:
    hub = make_hub()
    hub.ring("a", BY_TCP, now=0.0, time=1)
    assert not hub.subscribe(None, hub.cursor, nothing).waiting


def test_going_away_between_two_resyncs_loses_none() -> None:
    hub = make_hub()
    first = hub.subscribe(None, Cursor("before", 5), nothing)
    seen = first.take()
    assert seen is not None
    again = hub.subscribe(None, first.cursor, nothing)
    assert {n.account for n in drain(again)} >= set(ACCOUNTS) - {seen.account}


def test_what_there_is_to_ask() -> None:
    hub = make_hub()
    assert "a" in hub
    assert "nobody" not in hub
    hub.ring("c", BY_TCP, now=0.0, time=5)
    assert [(s.name, s.count, s.time) for s in hub.accounts] == [
        ("a", 0, None),
        ("b", 0, None),
        ("c", 1, 5),
    ]


def test_all_calls_that_could_not_be_read_count_as_one() -> None:
    hub = make_hub()
    subscriber = hub.subscribe(None, None, nothing)
    hub.ring("a", BY_TCP, now=0.0, time=1)
    drain(subscriber)
    for call in range(100):
        hub.ring_unread("a", BY_TCP, now=0.5 + call / 1000, time=2)
    assert drain(subscriber) == []
    hub.tick(1.0)
    assert [n.count for n in drain(subscriber)] == [1], "all of them count as one"


def test_a_known_callers_unread_calls_never_wake_more_often_than_the_interval() -> None:
    hub = make_hub()
    woken: list[float] = []
    subscriber = hub.subscribe(None, None, nothing)
    hub.ring("a", BY_TCP, now=0.0, time=1)
    for step in range(1, 1000):
        now = step / 100
        hub.ring_unread("a", BY_TCP, now, time=1)
        hub.tick(now)
        if drain(subscriber):
            woken.append(now)
    # The ticks are a hundredth apart, so that a wake-up may be late by one.
    assert all(later - earlier >= INTERVAL - 0.01 for earlier, later in pairwise(woken))
    assert 9 <= len(woken) <= 10


def test_that_something_was_missed_is_not_forgotten_over_something_new() -> None:
    hub = make_hub()
    subscriber = hub.subscribe(["a"], Cursor("before", 1), nothing)
    hub.ring("a", BY_TCP, now=0.0, time=9)
    assert drain(subscriber) == [Notification("a", Cause.RESYNC, 1, None, None, 9)]


steps = st.lists(
    st.tuples(
        st.sampled_from(["ring", "ring", "take", "reconnect", "tick"]),
        st.sampled_from(ACCOUNTS),
        st.floats(0, 0.6),
    ),
    max_size=60,
)


class Reader:
    """A client that keeps its cursor, and the accounts that it must still get."""

    def __init__(self, hub: Hub, wanted: set[str]) -> None:
        self.hub = hub
        self.wanted = wanted
        self.subscriber = hub.subscribe(wanted, None, nothing)
        self.cursor = self.subscriber.cursor
        self.uncovered: set[str] = set()

    def rung(self, account: str) -> None:
        self.uncovered |= {account} & self.wanted

    def take(self) -> None:
        notification = self.subscriber.take()
        if notification is not None:
            self.uncovered.discard(notification.account)
        self.cursor = self.subscriber.cursor

    def reconnect(self) -> None:
        self.hub.unsubscribe(self.subscriber)
        self.subscriber = self.hub.subscribe(self.wanted, self.cursor, nothing)


@given(steps, st.sets(st.sampled_from(ACCOUNTS), min_size=1))
def test_whatever_happens_every_ring_is_covered_by_something_the_client_saw(
    script: list[tuple[str, str, float]], wanted: set[str]
) -> None:
    """The naive model: after each notification of a wanted account, a later reply must name it."""
    hub = make_hub()
    now = 0.0
    reader = Reader(hub, wanted)
    for what, account, delay in script:
        now += delay
        if what == "ring":
            hub.ring(account, BY_TCP, now, time=0)
            reader.rung(account)
        elif what == "tick":
            hub.tick(now)
        else:
            getattr(reader, what)()
    hub.tick(now + INTERVAL)
    while reader.subscriber.waiting:
        reader.take()
    assert not reader.uncovered
    assert hub.next_due is None


@given(steps)
def test_counts_told_to_one_subscriber_add_up(script: list[tuple[str, str, float]]) -> None:
    hub = make_hub()
    now, rung, told = 0.0, 0, 0
    subscriber = hub.subscribe(None, None, nothing)
    for what, account, delay in script:
        now += delay
        if what == "ring":
            hub.ring(account, BY_TCP, now, time=0)
            rung += 1
        elif what == "take":
            told += sum(n.count for n in drain(subscriber))
    hub.tick(now + INTERVAL)
    told += sum(n.count for n in drain(subscriber))
    assert told == rung == sum(state.count for state in hub.accounts)


MANY = tuple(f"m{number}" for number in range(150))
SOME = MANY[::3]
ALONE = MANY[3]  # in both groups
GROUPS = {"many": MANY, "some": SOME, "alone": (ALONE,), "few": MANY[:5]}


class Clocked:
    """A hub whose `tick` runs at every time that it asks for."""

    def __init__(self) -> None:
        self.now = 0.0
        self.rung: dict[str, list[float]] = {name: [] for name in MANY}
        self.woken: dict[str, list[tuple[float, int]]] = {name: [] for name in MANY}
        self.hub = Hub(MANY, interval=INTERVAL, epoch="now", started=0, on_wakeup=self._woken)

    def _woken(self, notification: Notification) -> None:
        self.woken[notification.account].append((self.now, notification.count))

    def go_on(self, seconds: float) -> None:
        end = self.now + seconds
        while (due := self.hub.next_due) is not None and due <= end:
            self.now = max(self.now, due)
            self.hub.tick(self.now)
        self.now = end

    def ring(self, accounts: tuple[str, ...]) -> None:
        for account in accounts:
            self.rung[account].append(self.now)
        if accounts == (ALONE,):
            self.hub.ring(ALONE, MANUAL, self.now, 0)
        else:
            self.hub.ring_all(accounts, BY_TCP, self.now, 0)


@given(
    st.lists(
        st.tuples(st.sampled_from(["many", "some", "alone", "few"]), st.floats(0, 0.7)),
        max_size=30,
    )
)
def test_accounts_that_ring_together_keep_the_promises_of_each(
    script: list[tuple[str, float]],
) -> None:
    """Every notification is followed by a wake-up within an interval; wake-ups keep their
    distance; each notification is counted once. Also for accounts in several groups."""
    it = Clocked()
    for group, delay in script:
        it.ring(GROUPS[group])
        it.go_on(delay)
    it.go_on(2 * INTERVAL)
    assert it.hub.next_due is None
    for name in MANY:
        rung, woken = it.rung[name], it.woken[name]
        assert sum(count for _, count in woken) == len(rung)
        times = [time for time, _ in woken]
        assert all(later >= earlier + INTERVAL for earlier, later in pairwise(times))
        for time in rung:
            assert any(time <= then <= time + INTERVAL for then in times)


def test_a_line_for_many_accounts_is_rung_in_portions() -> None:
    it = Clocked()
    it.ring(MANY)
    assert not any(it.woken.values()), "the sender does not wait for it"
    portions = []
    while it.hub.tick(0.0):
        portions.append(sum(map(len, it.woken.values())))
    assert portions == [64, 128]
    assert all(woken == [(0.0, 1)] for woken in it.woken.values())


def test_two_groups_take_turns() -> None:
    it = Clocked()
    it.ring(MANY)
    it.ring(SOME)
    it.hub.tick(0.0)
    it.hub.tick(0.0)
    # Both have had a portion. The accounts of both groups are woken once for both.
    assert {woken[0][1] for woken in it.woken.values() if woken} == {1, 2}


@pytest.mark.parametrize(
    ("subscribers", "accounts"), [(15, PORTION), (16, PORTION // 2), (64, -(-PORTION // 5))]
)
def test_accounts_with_many_subscribers_make_a_portion_smaller(
    subscribers: int, accounts: int
) -> None:
    it = Clocked()
    for _ in range(subscribers):
        it.hub.subscribe(MANY, None, nothing)
    it.ring(MANY)
    it.hub.tick(0.0)
    assert sum(map(len, it.woken.values())) == accounts


def test_groups_have_their_portions_in_turn() -> None:
    groups = [tuple(f"{group}{number:02}" for number in range(100)) for group in "abc"]
    woken: Counter[str] = Counter()
    hub = Hub(
        [name for group in groups for name in group],
        interval=INTERVAL, epoch="now", started=0,
        on_wakeup=lambda notification: woken.update(notification.account[0]),
    )  # fmt: skip
    for group in groups:
        hub.ring_all(group, BY_TCP, 0.0, 0)
    seen = []
    while hub.tick(0.0):
        seen.append(tuple(woken[group] for group in "abc"))
    assert seen == [(64, 0, 0), (64, 64, 0), (64, 64, 64), (100, 92, 64)]
    assert woken == {"a": 100, "b": 100, "c": 100}


def test_groups_that_are_due_at_once_begin_their_rounds_in_portions() -> None:
    hub = Hub(MANY, interval=INTERVAL, epoch="now", started=0)
    groups = [(*MANY[:9], name) for name in MANY[9 : 9 + PORTION + 1]]
    for group in groups * 2:
        hub.ring_all(group, BY_TCP, 0.0, 0)
    while hub.tick(0.0):
        pass
    hub.tick(INTERVAL)
    assert [group.coalescer.held_back for group in hub._groups].count(1) == 1


@pytest.mark.parametrize(("accounts", "at_once"), [(8, 8), (9, 0)])
@pytest.mark.parametrize("ring", [Hub.ring_all, Hub.ring_all_unread])
def test_eight_accounts_are_rung_at_once_and_more_in_a_round(
    ring: Callable[..., None], accounts: int, at_once: int
) -> None:
    it = Clocked()
    ring(it.hub, MANY[:accounts], BY_TCP, 0.0, 0)
    assert sum(map(len, it.woken.values())) == at_once
    it.go_on(0)
    assert sum(map(len, it.woken.values())) == accounts


def test_a_round_is_announced_and_its_accounts_are_kept() -> None:
    """The group is found by the identity of the names, which no other names may get."""
    announced: list[float | None] = []
    hub = Hub(
        MANY, interval=INTERVAL, epoch="now", started=0,
        on_due=lambda: announced.append(hub.next_due),
    )  # fmt: skip
    hub.ring_all(MANY, BY_TCP, 0.0, 0)
    assert announced == [-inf]
    assert [group.names is MANY for group in hub._groups] == [True]


def test_the_next_round_is_announced_once_however_often_a_group_rings() -> None:
    announced: list[float | None] = []
    hub = Hub(
        MANY, interval=INTERVAL, epoch="now", started=0,
        on_due=lambda: announced.append(hub.next_due),
    )  # fmt: skip
    hub.ring_all(MANY, BY_TCP, 0.0, 0)
    while hub.tick(0.0):
        continue
    for time in range(3):
        hub.ring_all(MANY, BY_TCP, 0.5, time)
    assert announced == [-inf, INTERVAL]


def test_a_refused_call_costs_the_same_for_one_account_and_for_many(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    it = Clocked()
    it.ring(MANY)
    it.go_on(0.1)
    monkeypatch.setattr(it.hub, "_ring", lambda *_: pytest.fail("an account was rung"))
    for _ in range(10_000):
        it.hub.ring_all_unread(MANY, BY_TCP, it.now, 0)
    assert it.hub.next_due == INTERVAL
    assert len(it.hub._due) == 1
    monkeypatch.undo()
    it.go_on(INTERVAL)
    assert all([count for _, count in woken] == [1, 1] for woken in it.woken.values())


def test_a_refused_call_is_not_lost_for_few_accounts_either() -> None:
    it = Clocked()
    it.ring(MANY[:5])
    for _ in range(100):
        it.hub.ring_all_unread(MANY[:5], BY_TCP, 0.5, 0)
    it.go_on(INTERVAL)
    assert [[count for _, count in it.woken[name]] for name in MANY[:5]] == [[1, 1]] * 5


def test_a_refused_call_is_not_lost_for_an_account_that_has_fetched_what_waits() -> None:
    """It has had a wake-up for another reason while the group waits, and then the call comes."""
    it = Clocked()
    it.ring((ALONE,))
    it.go_on(0.5)
    it.ring(MANY)
    it.go_on(0.25)
    it.ring(MANY)  # waits for 1.5
    it.go_on(0.5)
    assert it.woken[ALONE] == [(0.0, 1), (1.0, 2)]
    for _ in range(3):
        it.hub.ring_all_unread(MANY, BY_TCP, it.now, 7)
    it.go_on(2 * INTERVAL)
    assert it.woken[ALONE] == [(0.0, 1), (1.0, 2), (2.0, 1)], "all of them count as one"
    assert it.woken[MANY[0]] == [(0.5, 1), (1.5, 1)], "for the others something waited already"
    assert it.hub.next_due is None
    it.ring(MANY)
    it.go_on(2 * INTERVAL)
    assert [it.woken[name][-1][1] for name in (ALONE, MANY[0])] == [1, 1]


def test_many_wake_ups_that_are_due_at_once_are_delivered_in_portions() -> None:
    it = Clocked()
    for _ in range(2):
        for name in MANY:
            it.hub.ring(name, MANUAL, 0.0, 0)
    before = sum(map(len, it.woken.values()))
    assert it.hub.tick(INTERVAL)
    assert sum(map(len, it.woken.values())) == before + PORTION
    while it.hub.tick(INTERVAL):
        pass
    assert sum(map(len, it.woken.values())) == 2 * len(MANY)


def test_a_round_that_takes_longer_than_the_interval_goes_on_and_leaves_no_account_out() -> None:
    it = Clocked()
    it.ring(MANY)
    it.hub.tick(0.0)
    it.now = INTERVAL
    it.ring(MANY)
    it.go_on(0)
    assert all(sum(count for _, count in woken) == 2 for woken in it.woken.values())
    assert [len(it.woken[name]) for name in (MANY[0], MANY[-1])] == [2, 1]


def test_a_round_that_began_before_its_tick_does_not_begin_again() -> None:
    it = Clocked()
    for now in (0.0, 0.5, 1.5):  # the tick of 1.0 is late
        it.now = now
        it.ring(MANY)
    it.go_on(10 * INTERVAL)
    assert all(sum(count for _, count in woken) == 3 for woken in it.woken.values())
    assert all(len(woken) == 1 for woken in it.woken.values())


def test_the_source_of_a_wake_up_is_that_of_the_last_notification() -> None:
    hub = Hub(MANY, interval=INTERVAL, epoch="now", started=0)
    subscriber = hub.subscribe([ALONE], None, nothing)
    hub.ring_all(MANY, BY_TCP, 0.0, 1)
    hub.ring(ALONE, MANUAL, 0.0, 2)
    (told,) = drain(subscriber)
    assert (told.cause, told.count, told.time) == (Cause.MANUAL, 2, 2)
    hub.ring(ALONE, MANUAL, 0.5, 3)
    hub.ring_all(MANY, BY_TCP, 0.5, 4)
    while hub.next_due is not None:
        hub.tick(INTERVAL)
    (told,) = drain(subscriber)
    assert (told.cause, told.count, told.time) == (Cause.NETWORK, 2, 4)
