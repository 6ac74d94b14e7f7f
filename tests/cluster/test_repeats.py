"""What is said twice, and what must not be done twice."""

from hypothesis import given
from hypothesis import strategies as st

from mailbell.cluster.repeats import Said, Taken

KEEP = 10.0
STEPS = st.lists(
    st.tuples(st.integers(0, 5), st.sampled_from(["a", "b", "c", "hold", "release"])), max_size=30
)


class Model:
    """Keeps all messages with their times, and how far it may forget."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.messages: list[tuple[float, str, int]] = []
        self.is_held = False
        self.overflowed = -1e9

    def forget(self, now: float) -> None:
        if not self.is_held:
            self.messages = [each for each in self.messages if now - each[0] <= KEEP]

    def note(self, account: str, number: int, now: float) -> None:
        self.messages = [each for each in self.messages if each[1] != account]
        self.messages.append((now, account, number))
        self.forget(now)
        if len(self.messages) > self.most:
            del self.messages[0]
            self.overflowed = now


@given(STEPS, st.integers(1, 3))
def test_said_keeps_the_latest_message_of_each_account(
    steps: list[tuple[int, str]], most: int
) -> None:
    said: Said[int] = Said(KEEP, most)
    model, now = Model(most), 0.0
    for number, (passed, what) in enumerate(steps):
        now += passed
        if what == "hold":
            said.hold(now)
            model.forget(now)
            model.is_held = True
        elif what == "release":
            said.release(now)
            if model.is_held:
                model.messages = [(now, *each[1:]) for each in model.messages]
            model.is_held = False
        else:
            said.note(what, number, now)
            model.note(what, number, now)
        model.forget(now)
        assert said.again(now) == tuple(each[2] for each in model.messages)
        assert len(said) == len(model.messages)
        kept = {each[1]: each[2] for each in model.messages}
        assert all(said.get(what) == kept.get(what) for _, what in steps)
        assert said.is_complete(now) == (now - model.overflowed > KEEP)


@given(st.lists(st.integers(0, 6)), st.integers(1, 4))
def test_taken_knows_the_latest_rings(rings: list[int], most: int) -> None:
    taken = Taken(most)
    known: list[int] = []
    for ring in rings:
        assert taken.is_new(ring) == (ring not in known)
        known = [*(each for each in known if each != ring), ring][-most:]


def test_what_is_as_old_as_it_may_be_is_kept_and_what_is_older_is_not() -> None:
    said: Said[str] = Said(KEEP)
    said.note("anna", "one", 5.0)
    assert said.again(5.0 + KEEP) == ("one",)
    assert said.again(5.5 + KEEP) == ()


def test_a_later_message_about_the_same_is_the_latest_of_all() -> None:
    said: Said[str] = Said(KEEP)
    for about, message in (("anna", "one"), ("bob", "two"), ("anna", "three")):
        said.note(about, message, 0.0)
    assert said.again(0.0) == ("two", "three")


def test_while_the_engine_is_away_nothing_more_is_forgotten() -> None:
    said: Said[str] = Said(KEEP)
    said.note("anna", "old", 0.0)
    said.note("bob", "new", 9.0)
    said.hold(11.0)
    assert said.again(99.0) == ("new",), "the other one was too old before"
    said.release(100.0)
    assert said.again(100.0 + KEEP) == ("new",), "it was said again at the release"
    said.release(105.0)
    assert said.again(100.5 + KEEP) == (), "the second release holds nothing"


def test_messages_are_complete_again_when_the_one_too_many_is_too_old() -> None:
    said: Said[int] = Said(KEEP, 1)
    assert said.is_complete(-1e9)
    said.note("anna", 1, 0.0)
    assert said.is_complete(0.0)
    said.note("bob", 2, 3.0)
    assert said.again(3.0) == (2,)
    assert not said.is_complete(3.0 + KEEP)
    assert said.is_complete(3.5 + KEEP)


def test_what_is_too_old_takes_no_place() -> None:
    said: Said[str] = Said(KEEP, 1)
    said.note("anna", "old", 0.0)
    said.note("bob", "new", KEEP + 1)
    assert (len(said), said.is_complete(KEEP + 1)) == (1, True)


def test_without_another_number_so_many_are_kept() -> None:
    said: Said[int] = Said(KEEP)
    for number in range(1 << 14):
        said.note(number, number, 0.0)
    assert (len(said), said.is_complete(0.0)) == (1 << 14, True)
    said.note("one", 1, 0.0)
    assert (len(said), said.is_complete(0.0)) == (1 << 14, False)
    taken = Taken()
    assert all(taken.is_new(number) for number in range(1 << 16))
    assert not taken.is_new(0)
    assert taken.is_new("one")  # forgets the oldest, which is 1: 0 was named again
    assert not taken.is_new(0)
    assert taken.is_new(1)
