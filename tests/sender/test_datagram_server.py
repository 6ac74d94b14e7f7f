"""Datagrams on real sockets, with the test's own clock."""

import json
import socket
from collections.abc import Awaitable, Callable
from functools import partial

import pytest
import trio
from harness.reception import Front
from trio.testing import MockClock, wait_all_tasks_blocked

from mailbell.core.errors import OperatingSystemError
from mailbell.core.sender_outcome import InputOutcome
from mailbell.sender._datagram_server import LAST_WAIT, ComsatServer, CyrusServer
from mailbell.sender._speakers import USER_BURST

NEW = {"event": "MessageNew", "user": "anna", "uri": "imap://vm/user.anna;UIDVALIDITY=1;UID=1"}
LOGIN = {"event": "Login", "user": "anna", "clientIP": "::ffff:192.0.2.9", "service": "imap"}


def cyrus(event: dict[str, str]) -> bytes:
    return b"mailbell\0EVENT\0\0\0\0" + b"0\0" + json.dumps(event).encode() + b"\0"


async def settle(done: Callable[[], object]) -> None:
    """Run until a condition holds. The clock jumps when no task can run."""
    with trio.fail_after(600):
        while not done():
            await trio.sleep(0.001)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_biff_datagrams_ring_and_only_ring(autojump_clock: MockClock, host: str) -> None:
    front = Front()
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        sock.bind((host, 0))
        sock.setblocking(False)
        with socket.socket(family, socket.SOCK_DGRAM) as peer:
            peer.connect(sock.getsockname()[:2])
            sent = (b"bob@498\0", b"anna@-1\n\0", b"anna@0:/home/anna/Maildir/.Junk/", b"", b"x")
            for data in (*sent, b"seen bob 192.0.2.9", b"bob@0:" + b"x" * 2000, b"nobody@1\0"):
                peer.send(data)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ComsatServer(sock, front.reception, front.journal).serve)
            await settle(lambda: front.is_done(8))
            nursery.cancel_scope.cancel()
    assert front.bell.rung == ["bob", "anna@example.org"]
    assert front.bell.logins == []
    assert front.counted() == {
        InputOutcome.ACCEPTED: 2,
        InputOutcome.QUIET_FOLDER: 1,
        InputOutcome.MALFORMED: 3,
        InputOutcome.TOO_LONG: 1,
        InputOutcome.UNKNOWN_ACCOUNT: 1,
    }


async def test_a_forged_flood_is_dropped_over_the_limit(autojump_clock: MockClock) -> None:
    front = Front()
    sent = 0
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer,
    ):
        sock.bind(("127.0.0.1", 0))
        sock.setblocking(False)
        peer.connect(sock.getsockname())
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ComsatServer(sock, front.reception, front.journal).serve)
            while sent < 2 * USER_BURST:
                for _ in range(100):  # no more than the kernel keeps for the socket
                    peer.send(b"bob@1\0")
                sent += 100
                await settle(partial(front.is_done, sent))
            nursery.cancel_scope.cancel()
    counted = front.counted()
    assert counted[InputOutcome.ACCEPTED] == len(front.bell.rung) < 2 * USER_BURST
    assert counted[InputOutcome.RATE_LIMITED] > USER_BURST // 2


async def with_reader(body: Callable[[socket.socket], Awaitable[None]], front: Front) -> None:
    far, near = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    near.setblocking(False)
    with far, near:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(CyrusServer(near, front.reception, front.journal).serve)
            await body(far)
            nursery.cancel_scope.cancel()


async def test_what_the_reader_of_cyrus_passes_on_rings_and_notes_logins(
    autojump_clock: MockClock,
) -> None:
    front = Front()

    async def body(far: socket.socket) -> None:
        junk = NEW | {"uri": "imap://vm/user.anna.Junk;UID=1"}
        for event in (NEW, LOGIN, junk, LOGIN | {"clientIP": "127.0.0.1"}, NEW | {"user": ""}):
            far.send(cyrus(event))
        far.send(b"x" * 20_000)
        await settle(lambda: front.is_done(6))

    await with_reader(body, front)
    assert front.bell.rung == ["anna@example.org"]
    assert front.bell.logins == [("anna@example.org", "192.0.2.9")]
    assert front.counted() == {
        InputOutcome.ACCEPTED: 3,  # with the event that is ignored
        InputOutcome.REFUSED_ADDRESS: 1,
        InputOutcome.MALFORMED: 1,
        InputOutcome.TOO_LONG: 1,
    }


async def test_the_sender_ends_with_the_reader_of_cyrus(autojump_clock: MockClock) -> None:
    front = Front()

    async def body(far: socket.socket) -> None:
        far.send(cyrus(NEW))
        far.close()
        await wait_all_tasks_blocked()
        await trio.sleep_forever()

    with pytest.RaisesGroup(OperatingSystemError):
        await with_reader(body, front)
    assert front.bell.rung == ["anna@example.org"]


@pytest.mark.parametrize(("ends", "has_all"), [(True, True), (False, False)])
async def test_the_rest_is_taken_at_the_end_of_the_sender(
    autojump_clock: MockClock, ends: bool, has_all: bool
) -> None:
    front = Front()
    far, near = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    near.setblocking(False)
    with far, near:
        far.send(cyrus(NEW))
        if ends:
            far.shutdown(socket.SHUT_WR)
        began = trio.current_time()
        assert await CyrusServer(near, front.reception, front.journal).drain() is has_all
        assert trio.current_time() - began <= LAST_WAIT
        assert far.recv(10) == b"\0"
    assert front.bell.rung == ["anna@example.org"]


async def test_a_reader_that_has_ended_may_have_lost_something(autojump_clock: MockClock) -> None:
    front = Front()
    far, near = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    near.setblocking(False)
    far.close()
    with near:
        assert not await CyrusServer(near, front.reception, front.journal).drain()
