"""The sender's side of the companion for the cluster: what it keeps, believes and gives up."""

import errno
import socket
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress

import pytest
import trio
from harness.refusing import Refusing
from trio.testing import MockClock, wait_all_tasks_blocked

from mailbell.cluster import messages as m
from mailbell.core.notification import Transport
from mailbell.core.target import Target
from mailbell.logs.journal import Journal
from mailbell.sender._accounts import Account
from mailbell.sender._backlog import Backlog
from mailbell.sender._cluster_client import MOST, PATIENCE, SILENCE, ClusterClient
from mailbell.sender._companion import Companion
from mailbell.serving.intake import PAUSE

RING = m.Ring(1, "anna", ("address 192.0.2.7 79 tcp",))
UP, DOWN = m.State(None), m.State("it is away")
FIXED = Account("carl", (Target("laptop", 79, Transport.TCP),))


class Bell:
    """What hears the companion."""

    def __init__(self) -> None:
        self.backlog = Backlog(lambda: iter(()))
        self.heard: list[object] = []
        self.handed_over = 0
        self.has_caught_up = False

    def call(self, message: m.Call, now: float) -> None:
        del now
        self.heard.append(message)

    def welcome(self, message: m.Welcome) -> None:
        self.heard.append(message)

    def nobody(self, name: str) -> None:
        self.heard.append(name)

    def lost(self, message: m.Ring | m.Login, now: float) -> None:
        del now
        self.heard.append(("lost", message.number))

    def hand_over(self, now: float) -> bool:
        del now
        self.handed_over += 1
        return self.has_caught_up

    def ring(self, account: Account, now: float) -> None:
        del now
        self.heard.append(account)

    def ring_logins(self, name: str, now: float) -> None:
        del now
        self.heard.append(("swept", name))

    def configured(self) -> Iterator[Account]:
        yield FIXED


class Other:
    """What stands in for the companion: the other end of the pair, and the log of the sender."""

    def __init__(self) -> None:
        near, self.far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        near.setblocking(False)
        self.far.setblocking(False)
        self.lines: list[str] = []
        self.bell = Bell()
        self.client = ClusterClient(
            Companion("mailbell-cluster", 4321, near),
            Journal(self.lines.append, time.monotonic),
            node="a",
            url="redis://engine",
            rate=10.0,
        )
        self.client.tell(self.bell)

    async def say(self, *messages: m.FromCompanion) -> None:
        for message in messages:
            self.far.send(m.encode(message))
        await wait_all_tasks_blocked()

    async def heard(self) -> list[m.FromSender | None]:
        """Take what the sender has said."""
        await wait_all_tasks_blocked()
        found = []
        while True:
            try:
                found.append(m.decode_from_sender(self.far.recv(m.MAX_MESSAGE)))
            except BlockingIOError:
                return found


@pytest.fixture
def other() -> Iterator[Other]:
    made = Other()
    yield made
    made.far.close()
    made.client._pair.close()


@asynccontextmanager
async def serving(other: Other, *said: m.FromCompanion) -> AsyncIterator[trio.Nursery]:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(other.client.serve)
        await other.say(*said)
        yield nursery
        nursery.cancel_scope.cancel()


async def test_nothing_is_shared_before_the_engine_can_be_used(other: Other) -> None:
    async with serving(other):
        assert not other.client.share(RING)
        assert (other.client.alone, other.client.room) == (1, 0)
        assert not other.client.connected.is_set()
        await other.say(UP)
        assert other.client.connected.is_set()
        assert other.client.share(RING)
        assert other.client.room == MOST // 2 - 1
        assert await other.heard() == [RING]


async def test_what_the_companion_says_is_passed_on(other: Other) -> None:
    call, welcome = m.Call("anna", "address 192.0.2.7 79 tcp"), m.Welcome("name x 79 tcp")
    async with serving(other, call, welcome, m.Nobody("bob")):
        assert other.bell.heard == [call, welcome, "bob"]


async def test_what_is_lost_is_done_alone(other: Other) -> None:
    async with serving(other, UP):
        other.client.share(RING)
        await other.say(m.Lost((1,)))
        assert other.bell.heard == [("lost", 1)]
        assert other.client.alone == 1


async def test_what_is_confirmed_is_not_kept(other: Other) -> None:
    async with serving(other, UP):
        other.client.share(RING)
        await other.say(m.Answered((1,)))
        await other.say(DOWN)
        other.far.close()
        await wait_all_tasks_blocked()
        assert other.bell.heard == []


async def test_there_is_a_bound(other: Other) -> None:
    async with serving(other, UP):
        for number in range(MOST):
            assert other.client.share(m.Ring(number, "anna"))
        assert not other.client.share(m.Ring(MOST, "anna"))
        assert other.client.room == 0


async def test_the_log_says_when_the_engine_goes_and_comes(other: Other) -> None:
    async with serving(other, UP, DOWN, DOWN, UP):
        assert [line.split()[0] for line in other.lines] == [
            "event=sharing_paused",
            "event=sharing_resumed",
        ]
        assert "it is away" in other.lines[0]
        assert other.client.state == UP


async def test_a_companion_that_ends_leaves_the_sender_alone(other: Other) -> None:
    async with serving(other, UP):
        other.client.share(RING)
        other.far.close()
        await wait_all_tasks_blocked()
        assert other.client.is_gone
        assert other.bell.heard == [("lost", 1)]
        assert "event=companion_ended program=mailbell-cluster pid=4321" in other.lines[-1]
        assert not other.client.share(RING)
        assert not await other.client.leave(list)


async def test_a_companion_that_talks_nonsense_is_not_read_any_more(other: Other) -> None:
    async with serving(other, UP):
        for number in range(1002):
            with suppress(BrokenPipeError):
                other.far.send(b"nonsense" if number % 2 else m.encode(m.Answered((number,))))
            if not number % 50:
                await wait_all_tasks_blocked()
        await wait_all_tasks_blocked()
        assert other.client.is_gone
        assert "it says what it may not" in other.lines[-1]


async def test_a_message_that_was_never_sent_cannot_be_lost(other: Other) -> None:
    async with serving(other, UP, m.Lost((7,))):
        assert other.bell.heard == []
        assert other.client._wrong == 1


async def test_everybody_is_rung_at_the_rate(other: Other, autojump_clock: MockClock) -> None:
    async with serving(other, UP, m.Sweep(("anna", "bob"))):
        begin = trio.current_time()
        while not await other.heard():
            await trio.sleep(0.05)
        assert trio.current_time() - begin == pytest.approx(0.2, abs=0.06)
        assert other.bell.heard == [("swept", "anna"), ("swept", "bob")]
        await other.say(m.Sweep((), is_last=True, number=2))
        await trio.sleep(0.2)
        assert await other.heard() == [m.Swept(2)]
        assert other.bell.heard[2:] == [FIXED]


async def test_a_sweep_that_begins_anew_is_answered(
    other: Other, autojump_clock: MockClock
) -> None:
    async with serving(other, UP, *(m.Sweep(("anna",), number=n) for n in range(1, 5))):
        await trio.sleep(1)
        answered = [each for each in await other.heard() if isinstance(each, m.Swept)]
        assert answered[-1] == m.Swept(4), "the last one is waited for"
        assert len(answered) <= 2


async def test_what_the_engine_forgot_is_said_again(other: Other) -> None:
    said: list[object] = []
    other.bell.backlog.say_everything = lambda _: said.append("all")  # type: ignore[method-assign, assignment]
    other.bell.backlog.say_again = said.append  # type: ignore[method-assign, assignment]
    async with serving(other, UP, m.Forgot(), m.Forgot(60.0)):
        assert said[0] == "all"
        assert isinstance(said[1], float)


async def test_it_tells_when_it_has_caught_up(other: Other) -> None:
    async with serving(other, UP):
        other.client.share(m.Ring(other.client.next_number(), "anna"))
        other.bell.has_caught_up = True
        await other.say(UP)
        other.bell.has_caught_up = False
        assert len(await other.heard()) == 1, "the ring is not confirmed yet"
        await other.say(m.Answered((1,)))
        assert await other.heard() == [m.CaughtUp()]
        await other.say(UP)
        assert await other.heard() == []


async def test_it_leaves_in_order(other: Other) -> None:
    async with serving(other, UP):
        pass
    found: list[bool] = []
    async with trio.open_nursery() as nursery:

        async def leave() -> None:
            found.append(await other.client.leave(lambda: [RING]))

        nursery.start_soon(leave)
        assert await other.heard() == [m.Retire()]
        await other.say(m.Retired())
        assert await other.heard() == [RING]
        await other.say(m.Answered((1,)))
        assert await other.heard() == [m.Leave()]
        await other.say(m.Left())
    assert found == [True]


async def test_it_does_not_wait_for_ever_to_leave(other: Other, autojump_clock: MockClock) -> None:
    async with serving(other, UP):
        pass
    begin = trio.current_time()
    assert not await other.client.leave(lambda: [RING])
    assert trio.current_time() - begin == pytest.approx(PATIENCE)


async def test_it_does_not_leave_with_a_ring_that_is_lost(
    other: Other, autojump_clock: MockClock
) -> None:
    async with serving(other, UP):
        pass
    async with trio.open_nursery() as nursery:

        async def lose() -> None:
            await other.heard()
            await other.say(m.Retired())
            assert await other.heard() == [RING]
            # The state comes with the next sign of life, which may be a second later.
            await other.say(m.Lost((1,)))
            assert await other.heard() == []

        nursery.start_soon(lose)
        assert not await other.client.leave(lambda: [RING])
    assert other.bell.heard == [("lost", 1)]


async def test_what_comes_until_it_has_retired_is_handed_over_too(
    other: Other, autojump_clock: MockClock
) -> None:
    async with serving(other, UP):
        pass
    call = m.Call("bob", "address 192.0.2.9 79 tcp")

    def rest() -> list[m.Ring]:
        assert other.bell.heard == [call]
        return [RING]

    async with trio.open_nursery() as nursery:
        nursery.start_soon(other.client.leave, rest)
        assert await other.heard() == [m.Retire()]
        await other.say(call, m.Retired())
        assert await other.heard() == [RING]


async def test_it_does_not_leave_what_it_has_rung_for_itself(other: Other) -> None:
    async with serving(other, m.State(None, is_sweeping=True)):
        pass
    assert not await other.client.leave(list)
    assert await other.heard() == []


async def test_what_the_engine_may_not_have_at_the_end_is_known(
    other: Other, autojump_clock: MockClock
) -> None:
    async with serving(other, UP):
        other.client.share(RING)
        other.client.share(m.Login(2, "bob", "192.0.2.7"))
    assert not await other.client.leave(list)
    assert list(other.client.unconfirmed()) == ["anna"]


async def test_a_companion_that_says_nothing_leaves_the_sender_alone(
    other: Other, autojump_clock: MockClock
) -> None:
    async with serving(other, UP):
        other.client.share(RING)
        await trio.sleep(SILENCE - 1)
        assert other.bell.heard == []
        await other.say(UP)
        await trio.sleep(SILENCE - 1)
        assert other.bell.heard == []
        await trio.sleep(3)
        assert other.bell.heard == [("lost", 1)]
        assert not other.client.share(m.Ring(2, "bob"))
        assert "its companion has said nothing for 6 s" in other.lines[-1]
        # It goes on with what it had: that is no nonsense, and nothing is done twice.
        await other.say(m.Answered((1,)), UP)
        assert other.client._wrong == 0
        assert other.client.share(m.Ring(3, "bob"))
        assert other.bell.heard == [("lost", 1)]


async def test_a_companion_that_stood_still_gets_nothing_that_was_rung_meanwhile(
    other: Other, autojump_clock: MockClock
) -> None:
    async with serving(other, UP):
        for number in range(3000):  # more than a pair of sockets takes
            other.client.share(m.Ring(number, "anna"))
        await trio.sleep(SILENCE + 2)
        assert len(other.bell.heard) == 3000
        sent = [each.number for each in await other.heard() if isinstance(each, m.Ring)]
        assert 0 < len(sent) < 3000
        await other.say(UP, m.Answered(tuple(sent[:512])))
        assert other.client._wrong == 0
        assert await other.heard() == []


async def test_what_was_given_up_may_be_lost_too(other: Other, autojump_clock: MockClock) -> None:
    async with serving(other, UP):
        other.client.share(RING)
        await trio.sleep(SILENCE + 2)
        await other.say(m.Lost((1,)))
        assert (other.bell.heard, other.client._wrong) == ([("lost", 1)], 0)


async def test_the_last_words_of_a_companion_count(other: Other) -> None:
    call = m.Call("bob", "address 192.0.2.9 79 tcp")
    async with serving(other, UP):
        other.client.share(RING)
        await wait_all_tasks_blocked()
        other.far.send(m.encode(call))
        other.far.close()  # with a message unread, which resets the connection
        await wait_all_tasks_blocked()
        assert other.bell.heard == [call, ("lost", 1)]
        assert "it has ended" in other.lines[-1]


@pytest.mark.parametrize("call", ["send", "recv"])
@pytest.mark.parametrize("number", [errno.ENOBUFS, errno.ENOMEM])
async def test_what_the_machine_lacks_for_a_while_costs_no_message(
    call: str, number: int, other: Other, autojump_clock: MockClock
) -> None:
    other.client._pair = Refusing(other.client._pair, call, number)  # type: ignore[assignment]  # as far as it is used
    async with serving(other, UP):
        await trio.sleep(3 * PAUSE)
        assert other.client.share(RING)
        await trio.sleep(3 * PAUSE)
        assert await other.heard() == [RING]
        await other.say(m.Answered((1,)))
        await trio.sleep(3 * PAUSE)
        assert list(other.client.unconfirmed()) == []
        assert not other.client.is_gone
