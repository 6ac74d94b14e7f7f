import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from mailbell.sender._hook_places import CROWD, Place, Places

MOST = 4
ANNA, BOB, ROOT = 1000, 1001, 0


class Room:
    def __init__(self, most: int = MOST) -> None:
        self.places = Places(most)
        self.ended: list[int] = []

    def enter(self, uid: int, name: int = -1, *, trusted: bool = False) -> Place | None:
        return self.places.enter(uid, lambda: self.ended.append(name), is_trusted=trusted)


def entered(room: Room, uid: int, name: int = -1, *, trusted: bool = False) -> Place:
    place = room.enter(uid, name, trusted=trusted)
    assert place is not None
    return place


def test_a_place_is_taken_and_left() -> None:
    it = Room()
    place = entered(it, ANNA)
    assert len(it.places) == 1
    it.places.leave(place)
    it.places.leave(place)
    it.places.speak(place)
    assert len(it.places) == 0
    assert it.ended == []


def test_the_oldest_of_the_user_with_most_silent_ones_gives_way() -> None:
    it = Room()
    for name, uid in enumerate((BOB, ANNA, ANNA, BOB)):
        it.enter(uid, name)
    it.enter(ANNA, 4)  # of equals the newcomer's own
    it.enter(2000, 5)
    assert it.ended == [1, 0]
    assert len(it.places) == MOST


def test_four_thousand_silent_ones_give_way_to_each_other_only() -> None:
    it = Room(256)
    dovecot = entered(it, 900, 9999, trusted=True)
    it.places.speak(dovecot)
    for name in range(4000):
        assert it.enter(ANNA, name) is not None
    assert it.ended == list(range(4000 - 255))


def test_silent_strangers_then_spoken_ones_then_silent_trusted_ones_then_the_rest() -> None:
    it = Room()
    trusted = entered(it, ROOT, 1, trusted=True)
    it.places.speak(trusted)
    it.enter(ROOT, 2, trusted=True)
    spoken = entered(it, ANNA, 3)
    it.places.speak(spoken)
    it.enter(BOB, 4)
    for name in range(5, 9):
        it.enter(ROOT, name, trusted=True)
    assert it.ended == [4, 3, 2, 5]


def test_a_stranger_takes_no_place_of_a_trusted_user() -> None:
    it = Room()
    for name in range(MOST):
        it.enter(ROOT, name, trusted=True)
    assert it.enter(ANNA) is None
    assert it.ended == []
    assert entered(it, ROOT, trusted=True)
    assert it.ended == [0]


def test_of_the_trusted_ones_that_have_spoken_the_longest_silent_gives_way() -> None:
    it = Room()
    places = [entered(it, ROOT, name, trusted=True) for name in range(MOST)]
    for which in (0, 1, 2, 3, 0):
        it.places.speak(places[which])
    it.places.speak(entered(it, ROOT, 4, trusted=True))
    it.places.speak(entered(it, ROOT, 5, trusted=True))
    assert it.ended == [1, 2]


def test_a_stranger_that_speaks_often_is_not_younger() -> None:
    it = Room()
    places = [entered(it, ANNA, name) for name in range(MOST)]
    for place in (*places, places[0]):
        it.places.speak(place)
    it.enter(BOB, 9)
    assert it.ended == [0]


def test_all_subordinate_users_count_as_one() -> None:
    it = Room()
    it.enter(ANNA, 1)
    for name in range(2, 10):
        it.enter(CROWD + 7 * name, name)
    assert it.ended == [2, 3, 4, 5, 6]


@pytest.mark.parametrize(
    ("uid", "user"), [(65_535, 65_535), (65_536, 65_536), (65_537, 65_536), (1 << 31, 65_536)]
)
def test_subordinate_users_begin_behind_16_bits(uid: int, user: int) -> None:
    assert entered(Room(), uid).user == user


@pytest.mark.parametrize("trusted", [True, False])
def test_where_there_is_no_place_nobody_gets_one(trusted: bool) -> None:
    assert Room(0).enter(ROOT, trusted=trusted) is None


@pytest.mark.parametrize("trusted", [True, False])
def test_a_place_that_was_taken_over_does_not_speak(trusted: bool) -> None:
    it = Room(1)
    first = entered(it, ROOT, 1, trusted=trusted)
    it.enter(ROOT, 2, trusted=trusted)
    it.places.speak(first)
    it.places.leave(first)
    assert it.ended == [1]
    assert len(it.places) == 1


class Model:
    """One connection as a person would note it."""

    def __init__(self, uid: int, trusted: bool, born: int) -> None:
        self.user, self.trusted, self.since, self.spoken = uid, trusted, born, False


class PlacesMachine(RuleBasedStateMachine):
    """Compares the places with a plain list that is searched each time."""

    def __init__(self) -> None:
        super().__init__()
        self.places = Places(MOST)
        self.held: dict[int, tuple[Place, Model]] = {}
        self.time = 0
        self.ended: list[int] = []

    def victim(self, newcomer: Model) -> int | None:
        def strangers(spoken: bool) -> list[int]:
            return [n for n, (_, m) in self.held.items() if not m.trusted and m.spoken is spoken]

        def oldest(names: list[int]) -> int | None:
            return min(names, key=lambda n: self.held[n][1].since, default=None)

        group = strangers(False) or strangers(True)
        if group:
            of = {n: self.held[n][1].user for n in group}
            most = max(list(of.values()).count(user) for user in of.values())
            users = {u for u in of.values() if list(of.values()).count(u) == most}
            if newcomer.user in users:
                users = {newcomer.user}
            return oldest([n for n in group if of[n] in users and self.is_first(of[n], users, of)])
        if not newcomer.trusted:
            return None
        silent = [n for n, (_, m) in self.held.items() if not m.spoken]
        return oldest(silent or list(self.held))

    def is_first(self, user: int, users: set[int], of: dict[int, int]) -> bool:
        """Of equal users the one that came first; any of them would do."""
        del of
        return user == next(iter(self.order(users)))

    def order(self, users: set[int]) -> list[int]:
        parties = self.places._silent or self.places._spoken
        return [user for user in parties if user in users]

    @rule(uid=st.sampled_from([1, 2, CROWD, CROWD + 5]), trusted=st.booleans())
    def enter(self, uid: int, trusted: bool) -> None:
        self.time += 1
        name = self.time
        model = Model(min(uid, CROWD), trusted, name)
        victim = self.victim(model) if len(self.held) == MOST else None
        place = self.places.enter(uid, lambda: self.ended.append(name), is_trusted=trusted)
        assert self.ended == ([] if victim is None else [victim])
        self.ended.clear()
        if victim is not None:
            del self.held[victim]
        assert (place is None) is (len(self.held) == MOST)
        if place is not None:
            self.held[name] = place, model

    @rule(which=st.integers(0, MOST))
    def speak(self, which: int) -> None:
        self.time += 1
        for place, model in list(self.held.values())[which : which + 1]:
            self.places.speak(place)
            if model.trusted or not model.spoken:
                model.since, model.spoken = self.time, True

    @rule(which=st.integers(0, MOST))
    def leave(self, which: int) -> None:
        for name in list(self.held)[which : which + 1]:
            self.places.leave(self.held.pop(name)[0])

    @invariant()
    def counts(self) -> None:
        assert len(self.places) == len(self.held)
        for parties in (self.places._silent, self.places._spoken):
            assert all(parties.values()), "an empty party is forgotten"


TestPlaces = PlacesMachine.TestCase


@given(st.lists(st.sampled_from([ANNA, BOB]), max_size=60))
def test_nobody_loses_a_place_while_another_user_has_more(users: list[int]) -> None:
    it = Room()
    for name, uid in enumerate(users):
        it.enter(uid, name)
    held = [uid for name, uid in enumerate(users) if name not in it.ended]
    if {ANNA, BOB} <= set(users[-MOST:]):
        assert {ANNA, BOB} == set(held)
