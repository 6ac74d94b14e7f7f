from collections import Counter
from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from mailbell.core.networks import Family, Network
from mailbell.core.notification import Transport
from mailbell.core.outcome import Outcome
from mailbell.limits.limiter import Gate, Limiter, Senders
from mailbell.listener._waiting import Place, WaitingRoom
from mailbell.logs.journal import Journal
from mailbell.logs.switch import Switch

ALL, EACH = 4, 2
NAMED = 0xC0000200


class Room:
    def __init__(self, named: Sequence[str] = ("192.0.2.0/30",)) -> None:
        self.limiter = Limiter(
            rate=1,
            burst=1,
            total_rate=1,
            connections=ALL,
            connections_per_source=EACH,
            sources=8,
            udp=False,
            seed=1,
            random=lambda: 0.0,
            senders=Senders(tuple(map(Network.parse, named))),
        )
        self.lines: list[str] = []
        self.room = WaitingRoom(Switch(Journal(self.lines.append, lambda: 0.0), "waiting", "tcp"))
        self.ended: list[int] = []

    def gate(self, family: Family) -> Gate:
        return self.limiter.gate(Transport.TCP, family)

    def enter(self, source: int, name: int = 0, family: Family = Family.IPV4) -> Place | Outcome:
        return self.room.enter(self.gate(family), source, lambda: self.ended.append(name))


def test_a_place_is_taken_and_left() -> None:
    it = Room()
    place = it.enter(1)
    assert isinstance(place, Place)
    assert it.limiter.statistics().connections == 1
    it.room.leave(place)
    it.room.leave(place)
    assert it.limiter.statistics().connections == 0
    assert it.ended == []


def test_a_source_over_its_limit_displaces_nobody() -> None:
    it = Room()
    for name, source in enumerate((1, 1, 2, 3)):
        it.enter(source, name)
    assert it.enter(1) is Outcome.TOO_MANY_FROM_SOURCE
    assert it.ended == []


def test_when_all_are_taken_the_longest_waiting_gives_way_whatever_its_family() -> None:
    it = Room()
    it.enter(1, 1, Family.IPV6)
    for name in (2, 3, 4):
        it.enter(name, name)
    newcomer = it.enter(5, 5)
    assert isinstance(newcomer, Place)
    assert it.ended == [1]
    assert it.limiter.statistics().connections == ALL


def test_a_stranger_displaces_no_named_sender() -> None:
    it = Room()
    for name, source in enumerate((NAMED, 7, NAMED + 1, 8)):
        it.enter(source, name)
    for name in range(10, 20):
        assert isinstance(it.enter(name, name), Place)
    assert it.ended == [1, 3, *range(10, 18)]
    for name in range(20, 30):
        assert isinstance(it.enter(NAMED + 2 + name % 2, name), Place) == (name < 24)
    assert it.ended == [1, 3, *range(10, 20), 0, 2]
    assert it.enter(1) is Outcome.TOO_MANY_CONNECTIONS
    assert len(it.room) == ALL


def test_one_named_network_displaces_no_sender_of_another() -> None:
    it = Room(("192.0.2.0/30", "198.51.100.7"))
    good = it.enter(0xC6336407, 77)
    for name in range(10):
        assert isinstance(it.enter(NAMED + name % 4, name), Place)
    assert it.ended == list(range(7))
    assert isinstance(good, Place)
    it.room.leave(good)
    before = len(it.ended)
    for name in (78, 79):
        it.enter(0xC6336407, name)
    assert len(it.ended) == before + 1
    assert it.limiter.statistics().connections == len(it.room) == ALL


def test_running_out_and_recovering_are_one_line_each() -> None:
    it = Room()
    places = [it.enter(source, source) for source in range(ALL + 3)]
    for place in places:
        assert isinstance(place, Place)
        it.room.leave(place)
    it.enter(1)
    assert [line.split()[0] for line in it.lines] == [
        "event=waiting_paused",
        "event=waiting_resumed",
    ]


def test_with_no_place_at_all_to_give_away_the_limit_holds() -> None:
    it = Room()
    for source in (1, 2, 3, 4):
        it.gate(Family.IPV4).connect(source)  # another user of the limiter takes these places
    assert it.enter(5) is Outcome.TOO_MANY_CONNECTIONS


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 5)), max_size=40))
def test_against_a_naive_model(script: list[tuple[bool, int]]) -> None:
    it = Room()
    inside: list[tuple[int, Place]] = []  # in order of arrival
    for name, (enters, source) in enumerate(script):
        if not enters and inside:
            it.room.leave(inside.pop(source % len(inside))[1])
            continue
        before = len(it.ended)
        given_place = it.enter(source, name)
        if Counter(place.source for _, place in inside)[source] >= EACH:
            assert given_place is Outcome.TOO_MANY_FROM_SOURCE
            continue
        if len(inside) == ALL:
            assert it.ended[before:] == [inside.pop(0)[0]]
        else:
            assert it.ended[before:] == []
        assert isinstance(given_place, Place)
        inside.append((name, given_place))
    assert it.limiter.statistics().connections == len(inside)
