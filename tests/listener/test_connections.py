"""The listeners on real loopback sockets, with the test's own clock."""

import os
import socket
import struct
from collections.abc import Awaitable, Callable

import pytest
import trio
from harness.house import House, house
from harness.without_memory import WithoutMemory
from trio.testing import MockClock, wait_all_tasks_blocked

from mailbell._sys.connections import READERS
from mailbell.core.notification import Transport
from mailbell.core.outcome import Outcome
from mailbell.core.rfc4146 import STRICT, Terminator
from mailbell.listener import _connections
from mailbell.listener._connections import DatagramListener, StreamListener, describe_socket
from mailbell.listener._waiting import WaitingRoom
from mailbell.logs.switch import Switch

LINE = b"nm_notifyuser\r\n"


def bound(kind: int, host: str = "127.0.0.1") -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, kind)
    sock.bind((host, 0))
    if kind == socket.SOCK_STREAM:
        sock.listen(4096)
    sock.setblocking(False)
    return sock


def connected(listening: socket.socket) -> socket.socket:
    peer = socket.socket(listening.family, socket.SOCK_STREAM)
    peer.connect(listening.getsockname()[:2])
    return peer


def heard(peer: socket.socket) -> bytes | None:
    """Return what the daemon sent: b"" after its close, None after a reset or while it is open."""
    peer.setblocking(False)
    try:
        return peer.recv(100)
    except (BlockingIOError, ConnectionResetError):
        return None


@pytest.fixture(autouse=True, params=READERS, ids=lambda read: read.__name__)
def with_each_way_to_read(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Kernels before 6.5 can read in one way only, so every test runs with both ways."""
    monkeypatch.setattr(_connections, "choose_reader", lambda _: request.param)


class Front:
    """A listener with its own socket, in the test's nursery."""

    def __init__(
        self, it: House, sock: socket.socket, terminators: frozenset[Terminator] = STRICT
    ) -> None:
        self.house = it
        self.socket = sock
        self.listener = StreamListener(
            sock,
            it.admission,
            it.limiter,
            terminators=terminators,
            deadline=5.0,
            waiting=WaitingRoom(Switch(it.journal, "waiting", "tcp")),
            journal=it.journal,
        )

    async def settle(self, done: Callable[[], object]) -> None:
        """Run until a condition holds. The clock jumps when no task can run."""
        with trio.fail_after(600):
            while not done():
                await trio.sleep(0.001)

    async def settled(self, outcome: Outcome, count: int = 1) -> None:
        await self.settle(lambda: self.house.counted().get(outcome, 0) >= count)


async def with_front(
    body: Callable[[Front], Awaitable[None]],
    toml: str = "",
    host: str = "127.0.0.1",
    terminators: frozenset[Terminator] = STRICT,
) -> Front:
    front = Front(house(toml), bound(socket.SOCK_STREAM, host), terminators)
    with front.socket:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(front.listener.serve)
            await body(front)
            nursery.cancel_scope.cancel()
    return front


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_a_line_rings_and_gets_no_answer(autojump_clock: MockClock, host: str) -> None:
    async def body(front: Front) -> None:
        with connected(front.socket) as peer:
            peer.sendall(LINE)
            await front.settled(Outcome.ACCEPTED)
            assert heard(peer) == b""

    front = await with_front(body, host=host)
    assert front.house.counted() == {Outcome.ACCEPTED: 1}
    assert [n.source for n in front.house.woken] == [host]


async def test_an_operator_who_permits_only_another_end_gets_no_other(
    autojump_clock: MockClock,
) -> None:
    async def body(front: Front) -> None:
        by_lf = LINE[:-2] + b"\n"
        for line, outcome in ((LINE, Outcome.BAD_TERMINATOR), (by_lf, Outcome.ACCEPTED)):
            with connected(front.socket) as peer:
                peer.sendall(line)
                await front.settled(outcome)

    front = await with_front(body, terminators=frozenset({Terminator.LF}))
    assert front.house.counted() == {Outcome.BAD_TERMINATOR: 1, Outcome.ACCEPTED: 1}


@pytest.mark.parametrize(
    ("said", "outcome"),
    [
        (b"NM_NOTIFYUSER\r\n", Outcome.MISMATCH),
        (b"nm_notifyuser\n\n", Outcome.BAD_TERMINATOR),
        (LINE + b"x", Outcome.TRAILING_DATA),
        (b"root\r\n", Outcome.FINGER_QUERY),
        (b"", Outcome.EMPTY),
    ],
)
async def test_what_has_ended_at_once_needs_no_socket_object(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch, said: bytes, outcome: Outcome
) -> None:
    """Garbage would cost more than a good line, which needs none (bench/workloads/outcomes.py)."""
    monkeypatch.setattr(_connections, "adopt", None)

    async def body(front: Front) -> None:
        with connected(front.socket) as peer:
            peer.sendall(said)
            peer.shutdown(socket.SHUT_WR)
            await front.settle(lambda: front.house.lines)  # of a refusal, or of a bug
            assert heard(peer) == b""

    front = await with_front(body)
    assert front.house.counted() == {outcome: 1}


async def test_a_line_byte_by_byte_rings(autojump_clock: MockClock) -> None:
    async def body(front: Front) -> None:
        with connected(front.socket) as peer:
            for byte in LINE:
                peer.sendall(bytes([byte]))
                await wait_all_tasks_blocked(0.001)
            await front.settled(Outcome.ACCEPTED)

    front = await with_front(body)
    assert front.house.counted() == {Outcome.ACCEPTED: 1}
    assert front.house.limiter.statistics().connections == 0


@pytest.mark.parametrize(
    ("sent", "outcome"),
    [
        (b"nm_notifyuser\n", Outcome.BAD_TERMINATOR),
        (b"NM_NOTIFYUSER\r\n", Outcome.MISMATCH),
        (b"\r\n", Outcome.FINGER_QUERY),
        (LINE + b"x", Outcome.TRAILING_DATA),
        (b"GET / HTTP/1.1\r\n" * 10_000, Outcome.MISMATCH),
    ],
)
async def test_anything_else_is_closed_without_a_byte(
    autojump_clock: MockClock, sent: bytes, outcome: Outcome
) -> None:
    async def body(front: Front) -> None:
        with connected(front.socket) as peer:
            peer.setblocking(False)
            peer.send(sent)
            await front.settled(outcome)
            assert heard(peer) in (b"", None)

    front = await with_front(body)
    assert front.house.counted() == {outcome: 1}
    assert front.house.woken == []
    assert len(front.house.lines) == 1


@pytest.mark.parametrize(
    ("sent", "outcome"), [(b"", Outcome.EMPTY), (b"nm_not", Outcome.TRUNCATED)]
)
async def test_who_hangs_up_early_is_counted(
    autojump_clock: MockClock, sent: bytes, outcome: Outcome
) -> None:
    async def body(front: Front) -> None:
        with connected(front.socket) as peer:
            peer.sendall(sent)
            await wait_all_tasks_blocked(0.001)
        await front.settled(outcome)

    assert (await with_front(body)).house.counted() == {outcome: 1}


@pytest.mark.parametrize(("sent", "outcome"), [(LINE, Outcome.ACCEPTED), (b"nm", Outcome.RESET)])
async def test_a_reset_loses_only_what_was_not_there_yet(
    autojump_clock: MockClock, sent: bytes, outcome: Outcome
) -> None:
    async def body(front: Front) -> None:
        peer = connected(front.socket)
        for byte in sent:
            peer.sendall(bytes([byte]))
            await wait_all_tasks_blocked(0.001)
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        peer.close()
        await front.settled(outcome)

    assert (await with_front(body)).house.counted() == {outcome: 1}


async def test_silence_ends_at_the_deadline_and_not_before(autojump_clock: MockClock) -> None:
    async def body(front: Front) -> None:
        with connected(front.socket) as peer:
            await trio.sleep(4.9)
            assert heard(peer) is None
            assert front.house.limiter.statistics().connections == 1
            await front.settled(Outcome.DEADLINE)
            assert heard(peer) == b""
        assert trio.current_time() <= 5.1

    start = trio.current_time()
    front = await with_front(body)
    assert trio.current_time() - start >= 5.0
    assert front.house.counted() == {Outcome.DEADLINE: 1}


async def test_one_byte_a_second_does_not_stretch_the_deadline(autojump_clock: MockClock) -> None:
    async def body(front: Front) -> None:
        with connected(front.socket) as peer:
            for byte in LINE[:5]:
                peer.sendall(bytes([byte]))
                await trio.sleep(1)
            await front.settled(Outcome.DEADLINE)

    assert (await with_front(body)).house.counted() == {Outcome.DEADLINE: 1}


async def test_places_are_limited_and_a_good_line_needs_none(autojump_clock: MockClock) -> None:
    toml = "[limits]\nconnections = 3\nconnections_per_source = 2\nburst = 100"

    async def body(front: Front) -> None:
        silent = [connected(front.socket) for _ in range(4)]
        await front.settled(Outcome.TOO_MANY_FROM_SOURCE, 2)
        with connected(front.socket) as good:
            good.sendall(LINE)
            await front.settled(Outcome.ACCEPTED)
        for peer in silent:
            peer.close()
        await front.settled(Outcome.EMPTY, 2)

    front = await with_front(body, toml)
    assert front.house.counted() == {
        Outcome.TOO_MANY_FROM_SOURCE: 2,
        Outcome.ACCEPTED: 1,
        Outcome.EMPTY: 2,
    }


async def test_when_every_place_is_taken_the_longest_waiting_gives_way(
    autojump_clock: MockClock,
) -> None:
    async def body(front: Front) -> None:
        silent = []
        for _ in range(4):
            silent.append(connected(front.socket))
            await wait_all_tasks_blocked(0.001)
        await front.settled(Outcome.TOO_MANY_CONNECTIONS, 2)
        # The last connection still has a place, and its line counts.
        silent[3].sendall(LINE)
        await front.settled(Outcome.ACCEPTED)
        assert [heard(peer) for peer in silent] == [b"", b"", None, b""]
        for peer in silent:
            peer.close()
        await front.settle(lambda: front.house.limiter.statistics().connections == 0)

    front = await with_front(body, "[limits]\nconnections = 2\nburst = 100")
    assert front.house.counted() == {
        Outcome.TOO_MANY_CONNECTIONS: 2,
        Outcome.ACCEPTED: 1,
        Outcome.EMPTY: 1,
    }
    changes = [line.split()[0] for line in front.house.lines if "event=waiting" in line]
    assert changes == ["event=waiting_paused"]


async def test_a_line_that_came_before_the_place_was_given_away_counts(
    autojump_clock: MockClock,
) -> None:
    async def body(front: Front) -> None:
        with connected(front.socket) as first:
            await wait_all_tasks_blocked(0.001)
            # Both happen before the listener runs again.
            with connected(front.socket) as second:
                first.sendall(LINE)
                await front.settled(Outcome.ACCEPTED)
                assert heard(second) is None

    front = await with_front(body, "[limits]\nconnections = 1\nburst = 100")
    assert front.house.counted().get(Outcome.TOO_MANY_CONNECTIONS, 0) == 0


async def test_a_flood_is_refused_unread_and_invalid_input_costs_more(
    autojump_clock: MockClock,
) -> None:
    async def body(front: Front) -> None:
        for _ in range(10):
            with connected(front.socket) as peer:
                peer.sendall(b"garbage\n")
                await front.settle(lambda: sum(front.house.counted().values()) > 0)
        await front.settle(lambda: sum(front.house.counted().values()) == 10)

    front = await with_front(body, "[limits]\nburst = 10")
    assert front.house.counted()[Outcome.RATE_LIMITED] >= 5


async def test_datagrams(autojump_clock: MockClock) -> None:
    it = house("[limits]\nburst = 100")
    with bound(socket.SOCK_DGRAM) as sock, socket.socket(type=socket.SOCK_DGRAM) as peer:
        listener = DatagramListener(
            sock, it.admission, it.limiter, terminators=STRICT, journal=it.journal
        )
        async with trio.open_nursery() as nursery:
            nursery.start_soon(listener.serve)
            for payload in (LINE, b"", LINE + b"x", b"x" * 60_000):
                peer.sendto(payload, sock.getsockname())
            with trio.fail_after(600):
                while sum(it.counted(Transport.UDP).values()) < 4:
                    await trio.sleep(0.001)
            nursery.cancel_scope.cancel()
        assert heard(peer) is None
    assert it.counted(Transport.UDP) == {
        Outcome.ACCEPTED: 1,
        Outcome.EMPTY: 1,
        Outcome.TRAILING_DATA: 1,
        Outcome.MISMATCH: 1,
    }
    assert [n.transport for n in it.woken] == [Transport.UDP]


async def test_the_called_address_chooses_the_account(autojump_clock: MockClock) -> None:
    toml = '[[account]]\nname = "mine"\naddresses = ["127.0.0.1"]'

    async def body(front: Front) -> None:
        with connected(front.socket) as peer:
            peer.sendall(LINE)
            await front.settled(Outcome.ACCEPTED)

    assert [n.account for n in (await with_front(body, toml)).house.woken] == ["mine"]


@pytest.mark.parametrize("waiting", [False, True])
async def test_a_bug_met_by_one_peer_does_not_silence_the_others(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch, waiting: bool
) -> None:
    async def body(front: Front) -> None:
        whole = front.house.admission.accept
        with monkeypatch.context() as broken, connected(front.socket) as victim:
            broken.setattr(front.house.admission, "accept", lambda *_, **__: 1 / 0)
            if waiting:
                await wait_all_tasks_blocked(0.001)
            victim.sendall(LINE)
            await front.settle(lambda: front.house.lines)
        assert front.house.admission.accept == whole
        with connected(front.socket) as good:
            good.sendall(LINE)
            await front.settled(Outcome.ACCEPTED)

    front = await with_front(body)
    assert "ZeroDivisionError" in front.house.lines[0]
    assert front.house.limiter.statistics().connections == 0


@pytest.mark.parametrize(
    ("where", "sent"),
    [
        ("meet", LINE),
        ("refusal", LINE),
        ("refusal", b"GET / HTTP/1.0\r\n\r\n"),
        ("accept", LINE),
        ("conclude", b"GET / HTTP/1.0\r\n\r\n"),
    ],
)
async def test_a_bug_leaves_no_descriptor_behind(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch, where: str, sent: bytes
) -> None:
    async def body(front: Front) -> None:
        before = os.listdir("/proc/self/fd")
        with monkeypatch.context() as broken, connected(front.socket) as victim:
            broken.setattr(front.house.admission, where, lambda *_, **__: 1 / 0)
            victim.sendall(sent)
            await front.settle(lambda: front.house.lines)
        assert os.listdir("/proc/self/fd") == before

    await with_front(body)


async def test_no_end_of_a_connection_leaves_a_descriptor_behind(
    autojump_clock: MockClock,
) -> None:
    async def body(front: Front) -> None:
        before = os.listdir("/proc/self/fd")
        for sent in (LINE, b"nm_", b"", b"x\r\n", LINE + b"x"):
            for _ in range(4):
                with connected(front.socket) as peer:
                    peer.sendall(sent)
        await front.settle(lambda: sum(front.house.counted().values()) == 20)
        assert os.listdir("/proc/self/fd") == before

    front = await with_front(body, "[limits]\nburst = 15")
    assert len(front.house.counted()) > 3


@pytest.mark.parametrize(
    ("kind", "host", "name"),
    [
        (socket.SOCK_STREAM, "127.0.0.1", "tcp 127.0.0.1:"),
        (socket.SOCK_DGRAM, "::1", "udp [::1]:"),
    ],
)
def test_names(kind: int, host: str, name: str) -> None:
    with bound(kind, host) as sock:
        assert describe_socket(sock) == f"{name}{sock.getsockname()[1]}"


async def test_a_wait_for_which_there_is_no_memory_costs_one_connection_and_no_place(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def body(front: Front) -> None:
        await wait_all_tasks_blocked()
        with monkeypatch.context() as patch, connected(front.socket) as peer:
            patch.setattr(front.listener, "_nursery", WithoutMemory())
            peer.sendall(LINE[:3])
            await front.settle(lambda: "MemoryError" in "".join(front.house.lines))
            assert heard(peer) in {b"", None}
        assert front.house.limiter.statistics().connections == 0
        with connected(front.socket) as peer:
            peer.sendall(LINE)
            await front.settled(Outcome.ACCEPTED)

    await with_front(body)
