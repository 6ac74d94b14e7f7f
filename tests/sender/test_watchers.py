"""A watcher that reads slowly costs the sender a fixed amount of memory, and no time."""

from hypothesis import given
from hypothesis import strategies as st

from mailbell.core.networks import Address
from mailbell.core.notification import Transport
from mailbell.core.sender_outcome import RingOutcome
from mailbell.core.target import Target
from mailbell.sender._ring import Ring
from mailbell.sender._watchers import HELD, Watcher, Watchers

TARGET = Target("laptop.example.net", 79, Transport.TCP)


def ring(account: str = "anna", milliseconds: float = 0.5) -> Ring:
    return Ring(account, TARGET, RingOutcome.SENT, milliseconds)


def test_a_watcher_is_told_of_each_ring_in_order() -> None:
    woken: list[str] = []
    watcher = Watcher(None, lambda: woken.append("woken"))
    before = watcher.waiting
    watcher.tell(ring("anna"))
    watcher.tell(Ring("bob", None, RingOutcome.NO_TARGET))
    assert (before, watcher.waiting, len(woken)) == (False, True, 2)
    first, second = watcher.take(), watcher.take()
    assert first.ring is not None
    assert (first.ring.account, first.ring.target) == ("anna", "laptop.example.net:79")
    assert (first.ring.outcome, first.ring.milliseconds) == (RingOutcome.SENT, 0.5)
    assert second.ring is not None
    assert (second.ring.account, second.ring.target) == ("bob", None)
    assert not watcher.waiting


def test_the_first_answer_has_no_ring() -> None:
    reply = Watcher(None, lambda: None).take()
    assert (reply.ring, reply.missed) == (None, 0)


def test_a_watcher_of_one_account_is_not_told_of_others() -> None:
    watcher = Watcher("bob", lambda: None)
    watcher.tell(ring("anna"))
    assert not watcher.waiting
    watcher.tell(ring("bob"))
    assert watcher.waiting


@given(st.lists(st.booleans(), max_size=4 * HELD))
def test_what_is_told_and_what_is_missed_are_all_there_was(reads: list[bool]) -> None:
    """The watcher reads when the test says so. Every ring is told in order, or counted."""
    watcher = Watcher(None, lambda: None)
    known = 0
    for number, reads_now in enumerate(reads):
        watcher.tell(ring(milliseconds=float(number)))
        if reads_now:
            reply = watcher.take()
            assert reply.ring is not None
            assert reply.ring.milliseconds == known + reply.missed
            known += reply.missed + 1
    left = 0
    while watcher.waiting:
        known += watcher.take().missed + 1
        left += 1
    assert left <= HELD
    assert known == len(reads)


def test_rings_are_forgotten_oldest_first_and_counted() -> None:
    watcher = Watcher(None, lambda: None)
    for number in range(HELD + 3):
        watcher.tell(ring(milliseconds=float(number)))
    reply = watcher.take()
    assert reply.missed == 3
    assert reply.ring is not None
    assert reply.ring.milliseconds == 3.0
    assert watcher.take().missed == 0


def test_256_rings_are_kept() -> None:
    watcher = Watcher(None, lambda: None)
    for _ in range(256):
        watcher.tell(ring())
    assert watcher.take().missed == 0
    for _ in range(2):
        watcher.tell(ring())
    assert watcher.take().missed == 1


def test_watchers_come_and_go() -> None:
    watchers = Watchers(2)
    one, other = Watcher(None, lambda: None), Watcher(None, lambda: None)
    watchers.add(one)
    watchers.tell(ring())
    watchers.add(other)
    assert (len(watchers), watchers.is_full) == (2, True)
    watchers.remove(one)
    watchers.tell(ring())
    assert (len(watchers), watchers.is_full) == (1, False)
    assert one.take().ring is not None
    assert not one.waiting
    assert other.waiting


def test_a_numeric_target_is_told_with_its_port_and_transport() -> None:
    watcher = Watcher(None, lambda: None)
    target = Target(Address.parse("2001:db8::7"), 79, Transport.UDP)
    watcher.tell(Ring("anna", target, RingOutcome.REFUSED))
    reply = watcher.take()
    assert reply.ring is not None
    assert reply.ring.target == "[2001:db8::7]:79/udp"
