"""The hook's socket on a real Unix socket, with the test's own clock."""

import gc
import os
import resource
import socket
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import trio
from harness.reception import TOML, Front
from harness.without_memory import WithoutMemory
from trio.testing import MockClock, wait_all_tasks_blocked

from mailbell._sys.sockets import PeerCredentials
from mailbell.core.sender_outcome import InputOutcome
from mailbell.sender import _hook_server, _speakers
from mailbell.sender._hook_line import parse_line_untrusted
from mailbell.sender._hook_server import AT_ONCE, BATCH, CHUNK, PLACES, HookServer
from mailbell.sender._late_rings import LATE
from mailbell.sender._line_decoder import MAX_EVENT, MAX_LINE, STRANGERS_MAX_EVENT, LineDecoder
from mailbell.sender._speakers import TRUSTED_BURST, USER_BURST

ME = os.getuid()
OTHER = ME + 1
ACCEPTED = InputOutcome.ACCEPTED
MALFORMED = InputOutcome.MALFORMED
TOO_LONG = InputOutcome.TOO_LONG
RATE_LIMITED = InputOutcome.RATE_LIMITED

Body = Callable[["Socket"], Awaitable[None]]


class Socket:
    """The server on its own socket. This process is trusted, or it is the user `anna`."""

    def __init__(self, path: Path, *, trusted: bool = True, places: int = PLACES) -> None:
        self.listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.listening.bind(str(path))
        self.listening.listen(4096)
        self.listening.setblocking(False)
        self.path = str(path)
        self.front = Front(TOML, {ME} if trusted else (), {ME: "anna", OTHER: "bob"})
        self.server = HookServer(
            self.listening, self.front.reception, self.front.journal, places=places
        )
        self.peers: list[socket.socket] = []

    def connect(self, sent: bytes = b"") -> socket.socket:
        peer = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.peers.append(peer)
        peer.connect(self.path)
        peer.setblocking(False)
        if sent:
            assert peer.send(sent) == len(sent)
        return peer

    def hook(self, sent: bytes) -> None:
        """Do what a hook does: connect, write, close."""
        self.connect(sent).close()

    async def settle(self, done: Callable[[], object]) -> None:
        """Run until a condition holds. The clock jumps when no task can run."""
        with trio.fail_after(600):
            while not done():
                await trio.sleep(0.001)

    async def settled(self, outcome: InputOutcome, count: int = 1) -> None:
        await self.settle(lambda: self.front.counted().get(outcome, 0) >= count)

    def close(self) -> None:
        for sock in (*self.peers, self.listening):
            sock.close()


def is_open(peer: socket.socket) -> bool:
    """Tell whether the server has closed the connection. It never sends a byte."""
    try:
        data = peer.recv(100)
    except BlockingIOError:
        return True
    except ConnectionResetError:  # closed with bytes unread
        return False
    assert data == b""
    return False


async def serve(it: Socket, body: Body) -> Socket:
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(it.server.serve)
            await body(it)
            nursery.cancel_scope.cancel()
    finally:
        it.close()
    return it


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "hook"


async def test_a_hooks_line_rings_and_gets_no_answer(autojump_clock: MockClock, path: Path) -> None:
    async def body(it: Socket) -> None:
        peer = it.connect(b"new anna\n")
        await it.settled(ACCEPTED)
        assert is_open(peer)
        peer.shutdown(socket.SHUT_WR)
        await it.settle(lambda: not is_open(peer))

    it = await serve(Socket(path), body)
    assert it.front.counted() == {ACCEPTED: 1}
    assert it.front.bell.rung == ["anna@example.org"]


async def test_a_hook_that_has_gone_needs_no_task(autojump_clock: MockClock, path: Path) -> None:
    it = Socket(path)
    it.server._nursery = WithoutMemory()  # type: ignore[assignment]
    for sent in (b"new anna\n", b"new anna", b"seen bob 192.0.2.9\nnew bob", b""):
        it.hook(sent)
    for _ in range(4):
        it.server._admit_untrusted(it.listening.accept()[0], 0.0)
    it.close()
    assert it.front.counted() == {ACCEPTED: 4}
    assert it.server.connections == 0


async def test_a_line_byte_by_byte_and_the_last_one_without_its_end(
    autojump_clock: MockClock, path: Path
) -> None:
    async def body(it: Socket) -> None:
        peer = it.connect()
        for byte in b"seen anna 192.0.2.9\nnew bob":
            peer.send(bytes([byte]))
            await wait_all_tasks_blocked(0.001)
        await it.settled(ACCEPTED)
        peer.close()
        await it.settled(ACCEPTED, 2)

    it = await serve(Socket(path), body)
    assert it.front.bell.logins == [("anna@example.org", "192.0.2.9")]
    assert it.front.bell.rung == ["bob"]
    assert it.server.connections == 0


BAD: list[tuple[bytes, InputOutcome]] = [
    (b"x" * (MAX_LINE + 1), TOO_LONG),
    (b"new " + b"x" * MAX_LINE + b"\n", TOO_LONG),
    (b"{" + b"x" * MAX_EVENT, TOO_LONG),
    (b"new \xff\n", MALFORMED),
    (b"new an\0na\n", MALFORMED),
    (b"ring anna\n", MALFORMED),
    (b"\n", MALFORMED),
    (b"[]\n", MALFORMED),
    (b"{}\n", MALFORMED),
    (b'{"event": "mail_delivery_finished"}\n', MALFORMED),
    (b'"new anna"\n', MALFORMED),
    (b"GET / HTTP/1.1\r\n\r\n", MALFORMED),
]


@pytest.mark.parametrize(("sent", "outcome"), BAD)
@pytest.mark.parametrize("trusted", [True, False])
async def test_what_is_no_line_ends_its_connection_with_one_outcome_and_one_line_in_the_log(
    autojump_clock: MockClock, path: Path, sent: bytes, outcome: InputOutcome, trusted: bool
) -> None:
    async def body(it: Socket) -> None:
        other = it.connect()
        peer = it.connect()
        with suppress(BlockingIOError):
            peer.send(sent)
            peer.send(b"\nnew anna\n" * 100)
        await it.settle(lambda: not is_open(peer))
        assert is_open(other)
        other.send(b"new anna\n")
        await it.settled(ACCEPTED)

    it = await serve(Socket(path, trusted=trusted), body)
    assert it.front.counted() == {outcome: 1, ACCEPTED: 1}
    assert len(it.front.lines) == 1


@pytest.mark.parametrize("byte", [b"x", b"\n", b"{", b"\0", b"\xff"])
async def test_ten_mebibytes_on_one_connection_are_one_outcome(
    autojump_clock: MockClock, path: Path, byte: bytes
) -> None:
    async def body(it: Socket) -> None:
        peer = it.connect()
        left = 10 << 20
        with trio.fail_after(600):
            while left and is_open(peer):
                try:
                    left -= peer.send(byte * min(left, 65536))
                except BlockingIOError:
                    await trio.sleep(0.001)
                except BrokenPipeError:
                    break
        await it.settle(lambda: not is_open(peer))
        assert left > 9 << 20, "it was closed at once"

    it = await serve(Socket(path), body)
    assert sum(it.front.counted().values()) == 1
    assert len(it.front.lines) == 1


async def test_ten_mebibytes_of_good_lines_of_a_stranger_end_at_the_users_limit(
    autojump_clock: MockClock, path: Path
) -> None:
    async def body(it: Socket) -> None:
        peer = it.connect()
        lines = b"new anna\n" * 7000
        with suppress(BrokenPipeError, ConnectionResetError), trio.fail_after(600):
            while is_open(peer):
                try:
                    peer.send(lines)
                except BlockingIOError:
                    await trio.lowlevel.checkpoint()

    it = await serve(Socket(path, trusted=False), body)
    counted = it.front.counted()
    assert counted[RATE_LIMITED] == 1
    assert USER_BURST <= counted[ACCEPTED] < 2 * USER_BURST
    assert len(it.front.lines) == 1


async def test_connections_over_the_limit_ring_at_most_once_an_interval_and_after_the_last(
    autojump_clock: MockClock, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_speakers, "CONNECTION_BURST", 1)
    monkeypatch.setattr(_speakers, "CONNECTION_RATE", 0.01)
    as_users(monkeypatch, lambda: OTHER)

    async def body(it: Socket) -> None:
        for _ in range(3):
            before = it.front.counted().get(RATE_LIMITED, 0)
            for _ in range(200):
                it.hook(b"new bob\n")
            await it.settled(RATE_LIMITED, before + 199)
            await trio.sleep(3 * LATE)

    it = await serve(Socket(path), body)
    assert it.front.counted()[RATE_LIMITED] >= 590
    # Each of the three floods rings at once, and once more after its last.
    assert it.front.bell.rung == ["bob"] * (it.front.counted().get(ACCEPTED, 0) + 6)


async def test_events_that_ring_nobody_make_a_stranger_no_more_worthy_of_a_place(
    autojump_clock: MockClock, path: Path
) -> None:
    async def body(it: Socket) -> None:
        real = it.connect(b"new anna\n")
        await it.settled(ACCEPTED)
        busy = it.connect(b'{"event":""}\n' * 20)
        await it.settled(ACCEPTED, 21)
        it.connect()
        await it.settle(lambda: it.server.displaced == 1)
        assert not is_open(busy)
        assert is_open(real)

    await serve(Socket(path, trusted=False, places=2), body)


async def test_a_stream_of_events_that_ring_nobody_ends_at_the_users_limit(
    autojump_clock: MockClock, path: Path
) -> None:
    async def body(it: Socket) -> None:
        peer = it.connect()
        with suppress(BrokenPipeError, ConnectionResetError), trio.fail_after(600):
            while is_open(peer):
                try:
                    peer.send(b'{"event":""}\n' * 5000)
                except BlockingIOError:
                    await trio.lowlevel.checkpoint()

    it = await serve(Socket(path, trusted=False), body)
    assert it.front.counted()[RATE_LIMITED] == 1
    assert USER_BURST <= it.front.counted()[ACCEPTED] < 2 * USER_BURST


async def test_a_mail_servers_connection_stays_open_whatever_accounts_it_names(
    autojump_clock: MockClock, path: Path
) -> None:
    login = b'{"event": "auth_request_finished", "fields": {"user": "anna", "success": "yes",'
    login += b' "remote_ip": "192.0.2.9"}}\n'

    async def body(it: Socket) -> None:
        peer = it.connect(b"new nobody\nnew gone\nnew anna Junk\nseen anna 127.0.0.1\nnew a")
        await it.settle(lambda: sum(it.front.counted().values()) == 4)
        peer.send(b"nna\n" + login)
        await it.settled(ACCEPTED, 2)
        assert is_open(peer)
        assert it.server.connections == 1

    it = await serve(Socket(path), body)
    assert it.front.bell.rung == ["anna@example.org"]
    assert it.front.bell.logins == [("anna@example.org", "192.0.2.9")]


@pytest.mark.parametrize(
    ("line", "outcome"),
    [
        (b"new bob\n", InputOutcome.NOT_PERMITTED),
        (b"seen bob 192.0.2.9\n", InputOutcome.NOT_PERMITTED),
        (b"new nobody\n", InputOutcome.UNKNOWN_ACCOUNT),
        (b"new anna Junk\n", InputOutcome.QUIET_FOLDER),
        (b"seen anna 127.0.0.1\n", InputOutcome.REFUSED_ADDRESS),
    ],
)
async def test_what_is_refused_of_a_stranger_ends_the_connection(
    autojump_clock: MockClock, path: Path, line: bytes, outcome: InputOutcome
) -> None:
    async def body(it: Socket) -> None:
        peer = it.connect(b"new anna\n" + line + b"new anna\n")
        await it.settle(lambda: not is_open(peer))

    it = await serve(Socket(path, trusted=False), body)
    assert it.front.counted() == {ACCEPTED: 1, outcome: 1}


async def test_a_stranger_may_not_hold_long_events(autojump_clock: MockClock, path: Path) -> None:
    async def body(it: Socket) -> None:
        peer = it.connect(b"{" + b"x" * STRANGERS_MAX_EVENT)
        await it.settle(lambda: not is_open(peer))

    it = await serve(Socket(path, trusted=False), body)
    assert it.front.counted() == {TOO_LONG: 1}


async def test_a_long_event_of_dovecot_is_read_in_pieces(
    autojump_clock: MockClock, path: Path
) -> None:
    head, end = b'{"event": "mail_delivery_finished", "fields": {"user": "bob", "y": "', b'"}}\n'
    event = head + b"x" * (MAX_EVENT - len(head) - len(end) + 1) + end
    assert len(event) == MAX_EVENT + 1 > AT_ONCE * CHUNK

    async def body(it: Socket) -> None:
        it.connect(event * 2 + b"new bob\n")
        await it.settled(ACCEPTED, 3)

    assert (await serve(Socket(path), body)).front.bell.rung == ["bob"] * 3


def as_users(monkeypatch: pytest.MonkeyPatch, uids: Callable[[], int]) -> None:
    """Let the kernel say other users, one for each connection, in the order of their coming."""
    monkeypatch.setattr(
        _hook_server, "peer_credentials", lambda _: PeerCredentials(pid=1, uid=uids(), gid=1)
    )


@pytest.fixture
def many_descriptors() -> Iterator[None]:
    """Let this process hold the other ends of thousands of connections."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(before[0], min(8192, before[1])), before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.mark.uncounted
@pytest.mark.usefixtures("many_descriptors")
async def test_four_thousand_silent_connections_give_their_places_to_those_that_speak(
    autojump_clock: MockClock, path: Path
) -> None:
    """Real connections of one user. The queue of the socket holds all of them at once."""

    async def body(it: Socket) -> None:
        for _ in range(4000):
            it.connect()
        it.hook(b"new anna\n")
        slow = it.connect(b"new an")
        await it.settled(ACCEPTED)
        await it.settle(lambda: it.server.displaced == 4001 - PLACES)
        slow.send(b"na\n")
        await it.settled(ACCEPTED, 2)
        assert it.server.connections == PLACES
        assert sum(map(is_open, it.peers[:4000])) == PLACES - 1
        assert not any(map(is_open, it.peers[: 4001 - PLACES]))

    it = await serve(Socket(path, trusted=False), body)
    assert it.front.counted() == {ACCEPTED: 2}
    assert it.front.lines == ["event=waiting_paused on=hook error=full"]


async def test_connections_of_a_user_over_the_limit_are_closed_unread(
    autojump_clock: MockClock, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_speakers, "CONNECTION_BURST", 10)
    uids = iter([OTHER] * 12 + [ME])
    as_users(monkeypatch, lambda: next(uids))

    async def body(it: Socket) -> None:
        peers = [it.connect() for _ in range(11)]
        late = it.connect(b"new bob\n")
        it.hook(b"new anna\n")
        await it.settled(ACCEPTED)
        assert [is_open(peer) for peer in (*peers, late)] == [True] * 10 + [False] * 2
        assert it.front.bell.rung == ["bob", "anna@example.org"]
        await it.settle(lambda: len(it.front.bell.rung) == 3)

    it = await serve(Socket(path), body)
    assert it.front.counted() == {ACCEPTED: 1, RATE_LIMITED: 2}
    assert it.front.bell.rung == ["bob", "anna@example.org", "bob"]


async def test_the_mail_servers_connection_outlives_four_thousand_silent_ones(
    autojump_clock: MockClock, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uids = iter([ME, *[OTHER] * 500])
    as_users(monkeypatch, lambda: next(uids))

    async def body(it: Socket) -> None:
        dovecot = it.connect(b"new anna\n")
        await it.settled(ACCEPTED)
        for _ in range(500):
            it.connect()
        await it.settle(lambda: it.server.displaced == 501 - 8)
        dovecot.send(b"new bob\n")
        await it.settled(ACCEPTED, 2)
        assert is_open(dovecot)

    it = await serve(Socket(path, places=8), body)
    assert it.front.bell.rung == ["anna@example.org", "bob"]


async def test_a_stranger_finds_no_place_where_all_are_trusted_ones(
    autojump_clock: MockClock, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uids = iter([ME, ME, OTHER, OTHER, OTHER])
    as_users(monkeypatch, lambda: next(uids))

    async def body(it: Socket) -> None:
        held = [it.connect(), it.connect()]
        await it.settle(lambda: it.server.connections == 2)
        silent, within, done = it.connect(), it.connect(b"new b"), it.connect(b"new bob\n")
        await it.settle(lambda: not any(map(is_open, (silent, within, done))))
        assert all(map(is_open, held))

    it = await serve(Socket(path, places=2), body)
    # A line that has arrived needs no place. One that has not counts as refused.
    assert it.front.counted() == {ACCEPTED: 1, RATE_LIMITED: 1}
    assert it.server.displaced == 3


@pytest.mark.parametrize(
    ("sent", "outcome"), [(b"ew bob\n", ACCEPTED), (b"ew bo", RATE_LIMITED), (b"", RATE_LIMITED)]
)
async def test_a_line_that_arrives_with_the_displacement_is_read(
    autojump_clock: MockClock, path: Path, sent: bytes, outcome: InputOutcome
) -> None:
    async def body(it: Socket) -> None:
        first = it.connect(b"n")
        await it.settle(lambda: it.server.connections == 1)
        second = it.connect()
        # Both are ready at once: the server displaces the first before its task runs.
        first.send(sent)
        it.server._admit_untrusted(it.listening.accept()[0], trio.current_time())
        assert it.front.counted() == {outcome: 1}
        assert not is_open(first)
        assert is_open(second)
        await wait_all_tasks_blocked()
        assert it.server.connections == 1

    it = await serve(Socket(path, places=1), body)
    assert it.server.displaced == 1


async def test_the_places_are_logged_once_when_full_and_once_when_free_again(
    autojump_clock: MockClock, path: Path
) -> None:
    async def body(it: Socket) -> None:
        for _ in range(20):
            it.connect()
        await it.settle(lambda: it.server.displaced == 16)
        for peer in it.peers:
            peer.close()
        await it.settle(lambda: it.server.connections == 0)
        it.connect()
        await it.settle(lambda: it.server.connections == 1)

    it = await serve(Socket(path, places=4), body)
    assert it.front.lines == [
        "event=waiting_paused on=hook error=full",
        "event=waiting_resumed on=hook",
    ]


async def test_a_broken_connection_within_a_line_is_counted(
    autojump_clock: MockClock, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel resets a Unix connection whose peer closes with unread bytes."""

    async def body(it: Socket) -> None:
        await wait_all_tasks_blocked()
        far, near = socket.socketpair()
        it.peers += [far, near]
        far.send(b"new b")
        it.server._admit_untrusted(near, 0.0)
        assert it.server.connections == 1
        near.send(b"unread")
        far.close()
        await it.settled(MALFORMED)

    it = await serve(Socket(path), body)
    assert it.front.counted() == {MALFORMED: 1}
    assert it.server.connections == 0


async def test_a_bug_that_one_peer_meets_ends_no_other(
    autojump_clock: MockClock, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(line: bytes) -> object:
        if line == b"new bug":
            raise ZeroDivisionError("a bug")
        return parse_line_untrusted(line)

    monkeypatch.setattr(_hook_server, "parse_line_untrusted", broken)

    async def body(it: Socket) -> None:
        slow = it.connect()
        at_once = it.connect(b"new bug\n")
        await it.settle(lambda: not is_open(at_once))
        slow.send(b"new bug\n")
        await it.settle(lambda: not is_open(slow))
        it.connect(b"new bob\n")
        await it.settled(ACCEPTED)

    it = await serve(Socket(path), body)
    assert it.front.lines == ["event=failed where=hook error=\"ZeroDivisionError('a bug')\""] * 2


async def test_without_memory_for_a_task_the_place_is_given_back(
    autojump_clock: MockClock, path: Path
) -> None:
    it = Socket(path)
    it.server._nursery = WithoutMemory()  # type: ignore[assignment]
    peer = it.connect(b"new b")
    with pytest.raises(MemoryError):
        it.server._admit_untrusted(it.listening.accept()[0], 0.0)
    assert it.server.connections == 0
    assert not is_open(peer)
    it.close()


async def test_a_thousand_hooks_at_once_are_all_taken(
    autojump_clock: MockClock, path: Path
) -> None:
    assert BATCH < 1000 < PLACES * 4

    async def body(it: Socket) -> None:
        for _ in range(1000):
            it.hook(b"new anna\n")
        await it.settled(ACCEPTED, 1000)

    it = await serve(Socket(path, trusted=False), body)
    assert it.front.counted() == {ACCEPTED: 1000}
    assert it.server.displaced == 0
    assert TRUSTED_BURST > 4096


@pytest.fixture
def without_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("without_collector")
async def test_what_a_connection_held_is_free_when_it_ends(
    autojump_clock: MockClock, path: Path
) -> None:
    """Bytes in a circle wait for the collector: 16 KiB for each of thousands of connections."""

    def held() -> int:
        kinds = (LineDecoder, _hook_server._Peer)
        return sum(isinstance(one, kinds) for one in gc.get_objects())

    async def body(it: Socket) -> None:
        for _ in range(20):  # most of them lose their place
            it.connect(b"{" + b"x" * 3000)
        for sent in (b"new bob\nnew", b"ring\n", b"x" * 600):
            it.connect(sent)
        await it.settle(lambda: it.server.displaced >= 16)
        for peer in it.peers:
            peer.close()
        await it.settle(lambda: it.server.connections == 0)
        await wait_all_tasks_blocked()

    before = held()
    await serve(Socket(path, places=4), body)
    assert held() == before
