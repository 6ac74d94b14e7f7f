from array import array
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailbell.core.notification import Cause, Cursor, Notification
from mailbell.listener import _wakeups
from mailbell.listener._wakeups import Subscriber, Wakeups

NAMES = tuple("abcdefgh")
EPOCH = "now"


def make(names: tuple[str, ...] = NAMES) -> Wakeups:
    return Wakeups(names, EPOCH, lambda number: told(names[number], 0, Cause.RESYNC))


def told(name: str, count: int, cause: Cause = Cause.MANUAL) -> Notification:
    return Notification(name, cause, count, None, None, 0)


def nothing() -> None:
    pass


@dataclass
class Model:
    """A subscriber that keeps every single wake-up in a list."""

    wanted: list[str]
    subscriber: Subscriber
    missed: set[str]
    untold: list[tuple[int, str, int]] = field(default_factory=list)
    takes_since: dict[str, int] = field(default_factory=dict)

    @property
    def waiting(self) -> set[str]:
        return self.missed | {name for _, name, _ in self.untold}

    def add(self, sequence: int, name: str, count: int) -> None:
        if name in self.wanted:
            self.untold.append((sequence, name, count))

    def take(self) -> None:
        assert self.subscriber.waiting == bool(self.waiting)
        notification = self.subscriber.take()
        if notification is None:
            assert not self.waiting
            return
        name = notification.account
        assert name in self.waiting, "never told of nothing"
        assert (notification.cause is Cause.RESYNC) == (name in self.missed)
        assert notification.count == sum(n for _, other, n in self.untold if other == name)
        self.untold = [entry for entry in self.untold if entry[1] != name]
        self.missed.discard(name)
        self.takes_since = {other: self.takes_since.get(other, 0) + 1 for other in self.waiting}
        assert all(takes <= 2 * len(self.wanted) for takes in self.takes_since.values()), "fair"

    def check_cursor(self, wakeups: Wakeups) -> None:
        cursor = self.subscriber.cursor
        assert cursor.epoch == EPOCH
        assert cursor.sequence <= wakeups.sequence
        if not self.waiting:
            assert cursor == wakeups.cursor
        # Whatever it was not told of has a later number: nothing is missed after a return.
        last = dict(zip(NAMES, wakeups.sequences, strict=True))
        assert all(last[name] > cursor.sequence for name in self.waiting)


SUBSETS = st.lists(st.sampled_from(NAMES), min_size=1, unique=True)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.sampled_from(NAMES), st.integers(1, 3)),
        st.tuples(st.just("take"), st.integers(0, 3)),
        st.tuples(st.just("subscribe"), st.none() | SUBSETS, st.none() | st.integers(-1, 30)),
        st.tuples(st.just("return"), st.integers(0, 3)),
    ),
    max_size=120,
)


class Play:
    """The wake-ups, and a model for each subscriber."""

    def __init__(self) -> None:
        self.wakeups = make()
        self.models: list[Model] = []

    def subscribe(self, accounts: list[str] | None, after: Cursor | None) -> Model:
        wanted = list(NAMES) if accounts is None else accounts
        since = self.wakeups.sequence if after is None else after.sequence
        if since > self.wakeups.sequence:
            since = -1
        last = dict(zip(NAMES, self.wakeups.sequences, strict=True))
        missed = {name for name in wanted if last[name] > since}
        model = Model(wanted, self.wakeups.subscribe(accounts, after, nothing), missed)
        self.models.append(model)
        return model

    def add(self, name: str, count: int) -> None:
        self.wakeups.add(NAMES.index(name), told(name, count))
        for model in self.models:
            model.add(self.wakeups.sequence, name, count)

    def come_back(self, gone: Model) -> None:
        self.models.remove(gone)
        self.wakeups.unsubscribe(gone.subscriber)
        accounts = None if gone.subscriber.wanted is None else gone.wanted
        back = self.subscribe(accounts, gone.subscriber.cursor)
        assert back.waiting >= gone.waiting, "nothing is missed"

    def do(self, step: tuple[Any, ...]) -> None:
        match step:
            case ("add", name, count):
                self.add(name, count)
            case ("take", which) if which < len(self.models):
                self.models[which].take()
            case ("subscribe", accounts, after) if len(self.models) < 4:
                self.subscribe(accounts, None if after is None else Cursor(EPOCH, after))
            case ("return", which) if which < len(self.models):
                self.come_back(self.models[which])


@pytest.mark.parametrize("recent", [3, 64])
@given(steps=STEPS)
def test_against_a_subscriber_that_keeps_every_wake_up(
    recent: int, steps: list[tuple[Any, ...]]
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_wakeups, "_RECENT", recent)
        compare(Play(), steps)


def compare(play: Play, steps: list[tuple[Any, ...]]) -> None:
    for step in steps:
        play.do(step)
        for model in play.models:
            model.check_cursor(play.wakeups)
    for model in play.models:
        while model.subscriber.waiting:
            model.take()
        model.take()


@given(st.lists(st.sampled_from(["add", "take"]), max_size=40), st.booleans())
def test_a_subscriber_is_woken_once_until_it_has_taken_everything(
    steps: list[str], everything: bool
) -> None:
    wakeups = make()
    woken = 0

    def wake() -> None:
        nonlocal woken
        woken += 1

    subscriber = wakeups.subscribe(None if everything else ["b", "a"], None, wake)
    expected = 0
    for number, step in enumerate(steps):
        if step == "add":
            expected += not subscriber.waiting
            wakeups.add(number % 2, told(NAMES[number % 2], 1))
        else:
            subscriber.take()
        assert woken == expected


@pytest.mark.parametrize("accounts", [None, NAMES])
def test_one_that_reads_slowly_is_told_of_each_account_in_turn(
    accounts: tuple[str, ...] | None,
) -> None:
    """All accounts ring again before it has taken half of them. No account is forgotten."""
    wakeups = make()
    subscriber = wakeups.subscribe(accounts, None, nothing)
    taken = []
    for _ in range(6):
        for number, name in enumerate(NAMES):
            wakeups.add(number, told(name, 1))
        for _ in range(3):
            notification = subscriber.take()
            assert notification is not None
            taken.append((notification.account, notification.count))
    assert [name for name, _ in taken[:8]] == list(NAMES)
    assert {name for name, _ in taken[8:16]} == set(NAMES)
    assert all(2 <= count <= 3 for _, count in taken[8:16]), "everything since it was told"


@pytest.mark.parametrize("accounts", [None, ["a", "c"]])
def test_ended_it_is_neither_woken_nor_kept(accounts: list[str] | None) -> None:
    wakeups = make()
    subscriber = wakeups.subscribe(accounts, None, lambda: pytest.fail("woken"))
    wakeups.unsubscribe(subscriber)
    wakeups.unsubscribe(subscriber)
    wakeups.add(0, told("a", 1))
    assert wakeups.subscribers == 0
    assert subscriber.take() is None
    behind = wakeups.subscribe(accounts, Cursor("before", 1), lambda: pytest.fail("woken"))
    wakeups.unsubscribe(behind)
    while behind.take():
        pass
    wakeups.add(0, told("a", 1))


@pytest.mark.parametrize("new", [0, 31, 32, 1023, 1024, 1500, 2999])
def test_what_is_new_is_found_among_many_accounts(new: int) -> None:
    names = tuple(map(str, range(3000)))
    wakeups = make(names)
    first = wakeups.subscribe(None, None, nothing)
    wakeups.add(500, told("500", 1))
    assert first.take() == told("500", 1)
    wakeups.add(2999, told("2999", 1))
    wakeups.add(new, told(str(new), 1))
    assert {first.take(), first.take()} >= {told(str(new), 2 if new == 2999 else 1)}
    assert not first.waiting
    back = wakeups.subscribe(None, Cursor(EPOCH, 2), nothing)
    assert back.take() == told(str(new), 0, Cause.RESYNC)
    assert not back.waiting


def test_an_account_that_is_not_there_leaves_nothing_behind() -> None:
    wakeups = make()
    with pytest.raises(KeyError):
        wakeups.subscribe(["a", "nobody"], None, nothing)
    assert wakeups.subscribers == 0
    wakeups.add(0, told("a", 1))


def test_one_that_is_close_behind_is_told_of_the_oldest_first_and_its_cursor_follows() -> None:
    wakeups = make()
    subscriber = wakeups.subscribe(None, None, nothing)
    for name in "hcah":
        wakeups.add(NAMES.index(name), told(name, 1))
    seen = []
    while (notification := subscriber.take()) is not None:
        seen.append((notification.account, notification.count, subscriber.cursor.sequence))
    assert seen == [("h", 2, 1), ("c", 1, 2), ("a", 1, 4)]


def test_what_there_is_to_ask() -> None:
    wakeups = make()
    assert list(wakeups.counts) == list(wakeups.sequences) == [0] * len(NAMES)
    assert [wakeups.listeners(number) for number in range(3)] == [0, 0, 0]
    everything = wakeups.subscribe(None, None, nothing)
    some = wakeups.subscribe(["a", "c"], None, nothing)
    wakeups.subscribe(["c"], None, nothing)
    assert wakeups.subscribers == 3
    assert [wakeups.listeners(number) for number in range(3)] == [1, 0, 2]
    wakeups.add(2, told("c", 5))
    assert list(wakeups.counts)[:3] == [0, 0, 5]
    assert list(wakeups.sequences)[:3] == [0, 0, 1]
    wakeups.unsubscribe(some)
    wakeups.unsubscribe(everything)
    assert wakeups.subscribers == 1
    assert [wakeups.listeners(number) for number in range(3)] == [0, 0, 1]


def test_a_wake_up_is_kept_once_for_all_that_are_told_of_it() -> None:
    wakeups = make()
    subscribers = [wakeups.subscribe(accounts, None, nothing) for accounts in (None, ["b"])]
    wake_up = told("b", 2)
    wakeups.add(1, wake_up)
    assert all(subscriber.take() is wake_up for subscriber in subscribers)


@pytest.mark.parametrize("accounts", [None, ["b"]])
def test_who_comes_back_with_the_last_cursor_has_missed_nothing(accounts: list[str] | None) -> None:
    wakeups = make()
    assert not wakeups.subscribe(accounts, Cursor(EPOCH, 0), nothing).waiting
    wakeups.add(1, told("b", 2))
    assert not wakeups.subscribe(accounts, Cursor(EPOCH, 1), nothing).waiting
    assert wakeups.subscribe(accounts, Cursor(EPOCH, 0), nothing).waiting
    assert wakeups.subscribe(accounts, Cursor(EPOCH, 2), nothing).waiting, "it was never given out"


def test_the_cursor_of_one_that_looks_at_everything_is_where_its_last_round_began() -> None:
    wakeups = make()
    wakeups.add(0, told("a", 1))
    wakeups.add(1, told("b", 1))
    subscriber = wakeups.subscribe(["a", "b"], Cursor("before", 9), nothing)
    assert subscriber.cursor == Cursor(EPOCH, -1), "it comes from another run"
    assert subscriber.take() == told("a", 0, Cause.RESYNC)
    wakeups.add(0, told("a", 1))
    assert subscriber.cursor == Cursor(EPOCH, -1)
    assert subscriber.take() == told("b", 0, Cause.RESYNC)
    assert subscriber.cursor == Cursor(EPOCH, 2)
    assert subscriber.take() == told("a", 1)
    assert subscriber.cursor == Cursor(EPOCH, 3)


TENS = tuple(f"{number:02}" for number in range(70))


def behind_by(wake_ups: int, before: int) -> tuple[Wakeups, Subscriber]:
    """Return one that took what was there before, and then the last accounts rang, backwards."""
    wakeups = make(TENS)
    subscriber = wakeups.subscribe(None, None, nothing)
    for _ in range(before):
        wakeups.add(0, told("00", 1))
    while subscriber.take():
        pass
    for number in range(69, 69 - wake_ups, -1):
        wakeups.add(number, told(TENS[number], 1))
    return wakeups, subscriber


def taken(subscriber: Subscriber, times: int) -> list[tuple[str, int]]:
    """Take, and return the accounts with the cursor after each."""
    found = []
    for _ in range(times):
        notification = subscriber.take()
        assert notification is not None
        found.append((notification.account, subscriber.cursor.sequence))
    return found


@pytest.mark.parametrize("before", [0, 100])
def test_64_wake_ups_behind_is_close(before: int) -> None:
    _, subscriber = behind_by(64, before)
    expected = [(TENS[70 - place], before + place) for place in range(1, 65)]
    assert taken(subscriber, 64) == expected
    assert not subscriber.waiting


@pytest.mark.parametrize("before", [0, 100])
def test_who_is_further_behind_takes_the_accounts_in_a_circle(before: int) -> None:
    wakeups, subscriber = behind_by(65, before)
    assert taken(subscriber, 2) == [("69", before), ("05", before)]
    wakeups.add(5, told("05", 1))
    circle = [(name, before) for name in TENS[6:68]]
    assert taken(subscriber, 64) == [*circle, ("68", before + 65), ("05", before + 66)]
    assert not subscriber.waiting


class Counted(array):  # type: ignore[type-arg]  # it is of integers
    """An array that counts how many pieces of it are taken."""

    pieces = 0

    def __getitem__(self, index: Any) -> Any:
        self.pieces += isinstance(index, slice)
        return super().__getitem__(index)


@pytest.mark.parametrize("place", [0, 1, 1023, 1024, 9215, 9216, 9999])
def test_the_next_of_10000_accounts_is_found_with_few_comparisons(place: int) -> None:
    these = Counted("q", bytes(8 * 10_000))
    those = array("q", these)
    those[place] = 1
    assert _wakeups._first_difference(these, those, 0) == place
    assert these.pieces <= 10 + 32 + 32
    assert _wakeups._first_difference(these, those, place) == place
    assert _wakeups._first_difference(these, those, place + 1) == _wakeups._NOTHING
