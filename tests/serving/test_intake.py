"""The accept loop, with every error that the kernel may return."""

import errno
import socket
from collections.abc import Iterator
from typing import Final

import pytest
import trio
from trio.testing import MockClock

from mailbell.logs.journal import Journal
from mailbell.serving import intake
from mailbell.serving.intake import PAUSE, Intake, until_readable

BATCH: Final = 4
# The loop skips these errors, unless all calls of a batch fail.
OF_ONE_PEER: Final = sorted(intake._OF_ONE_PEER)
FOR_ALL: Final = (errno.EACCES, errno.EPERM, errno.EMFILE, errno.ENFILE, errno.ENOMEM,
                  errno.ENOBUFS, errno.EINVAL, errno.ENOTSOCK, errno.EBADF)  # fmt: skip


class Waiting:
    """A socket on which datagrams wait, and a kernel that may refuse to return them."""

    def __init__(self) -> None:
        self.socket, self.peer = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.setblocking(False)
        self.lines: list[str] = []
        self.refusals: list[int] = []  # the errors of the next calls
        self.always = 0  # the error of all calls
        self.short = 0  # how many of the next calls find no memory
        self.calls = 0
        self.taken: list[bytes] = []
        self.broken = False
        self.intake = Intake(
            self.socket,
            self._take,
            batch=BATCH,
            journal=Journal(self.lines.append, lambda: 0.0),
            what="receiving",
            where="here",
        )

    def _take(self) -> bytes:
        self.calls += 1
        if self.short:
            self.short -= 1
            raise MemoryError
        number = self.always or (self.refusals.pop(0) if self.refusals else 0)
        if number:
            raise OSError(number, "refused")
        return self.socket.recv(100)

    def handle(self, data: bytes, _: float) -> None:
        self.taken.append(data)
        if self.broken:
            raise ValueError(data)

    async def until(self, count: int) -> None:
        while len(self.taken) < count:
            await trio.sleep(PAUSE / 100)


@pytest.fixture
def waiting() -> Iterator[Waiting]:
    made = Waiting()
    with made.socket, made.peer:
        yield made


async def test_what_waits_is_taken_in_order(waiting: Waiting, autojump_clock: MockClock) -> None:
    sent = [bytes([n]) for n in range(3 * BATCH)]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(waiting.intake.serve, waiting.handle)
        for data in sent:
            waiting.peer.send(data)
        await waiting.until(len(sent))
        nursery.cancel_scope.cancel()
    assert waiting.taken == sent
    assert waiting.lines == []


@pytest.mark.parametrize("number", [*FOR_ALL, *OF_ONE_PEER], ids=errno.errorcode.get)
async def test_an_error_that_stays_pauses_with_one_line_and_ends_with_one(
    waiting: Waiting, autojump_clock: MockClock, number: int
) -> None:
    """Even an error of one peer pauses the loop, if every call of a batch gets it."""
    waiting.always = number
    waiting.peer.send(b"x")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(waiting.intake.serve, waiting.handle)
        began = trio.current_time()
        await trio.sleep(100 * PAUSE - PAUSE / 2)
        pauses = round((trio.current_time() - began) / PAUSE)
        each = BATCH if number in OF_ONE_PEER else 1
        assert waiting.calls == pauses * each
        name = errno.errorcode[number]
        assert waiting.lines == [f"event=receiving_paused on=here error={name}"]
        waiting.always = 0
        await waiting.until(1)
        nursery.cancel_scope.cancel()
    assert waiting.lines[1:] == ["event=receiving_resumed on=here"]


@pytest.mark.parametrize("number", OF_ONE_PEER, ids=errno.errorcode.get)
async def test_an_error_of_one_peer_is_passed_over(
    waiting: Waiting, autojump_clock: MockClock, number: int
) -> None:
    waiting.refusals = [number] * (BATCH - 1)
    waiting.peer.send(b"x")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(waiting.intake.serve, waiting.handle)
        began = trio.current_time()
        await waiting.until(1)
        assert trio.current_time() - began < PAUSE
        nursery.cancel_scope.cancel()
    assert waiting.lines == []


async def test_an_unknown_error_pauses_too(waiting: Waiting, autojump_clock: MockClock) -> None:
    waiting.refusals = [9999]
    waiting.peer.send(b"x")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(waiting.intake.serve, waiting.handle)
        await waiting.until(1)
        nursery.cancel_scope.cancel()
    assert waiting.lines[0] == "event=receiving_paused on=here error=?"


async def test_no_memory_to_take_it_pauses_too(waiting: Waiting, autojump_clock: MockClock) -> None:
    """Python raises its own error for this, without an errno of the kernel."""
    waiting.short = 3
    waiting.peer.send(b"x")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(waiting.intake.serve, waiting.handle)
        began = trio.current_time()
        await waiting.until(1)
        assert trio.current_time() - began > 2 * PAUSE
        nursery.cancel_scope.cancel()
    assert waiting.lines == [
        "event=receiving_paused on=here error=ENOMEM", "event=receiving_resumed on=here",
    ]  # fmt: skip


async def test_a_bug_met_by_one_peer_does_not_stop_the_others(
    waiting: Waiting, autojump_clock: MockClock
) -> None:
    waiting.broken = True
    async with trio.open_nursery() as nursery:
        nursery.start_soon(waiting.intake.serve, waiting.handle)
        for data in (b"1", b"2"):
            waiting.peer.send(data)
        await waiting.until(2)
        nursery.cancel_scope.cancel()
    assert [line.split()[0] for line in waiting.lines] == ["event=failed"] * 2


async def test_after_lone_arrivals_most_are_taken_without_a_look_for_more(
    waiting: Waiting, autojump_clock: MockClock
) -> None:
    """A look that finds nothing is a second call."""
    calls = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(waiting.intake.serve, waiting.handle)
        for number in range(30):
            before = waiting.calls
            waiting.peer.send(bytes([number]))
            await waiting.until(number + 1)
            calls.append(waiting.calls - before)
        nursery.cancel_scope.cancel()
    looks = [number for number, count in enumerate(calls) if count == 2]
    assert looks == [0, 2, 6, 14, 22]
    assert set(calls) == {1, 2}


async def test_of_what_comes_together_after_lone_ones_all_is_taken(
    waiting: Waiting, autojump_clock: MockClock
) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(waiting.intake.serve, waiting.handle)
        for number in range(7):
            waiting.peer.send(b"lone")
            await waiting.until(number + 1)
        for round_ in range(1, 4):
            for _ in range(5):
                waiting.peer.send(b"together")
            await waiting.until(7 + 5 * round_)
        before = waiting.calls
        for _ in range(BATCH - 1):
            waiting.peer.send(b"together")
        await waiting.until(22 + BATCH - 1)
        assert waiting.calls - before == BATCH, "it looks again after each"
        nursery.cancel_scope.cancel()
    assert waiting.lines == []


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ECONNABORTED], ids=errno.errorcode.get)
async def test_an_error_after_lone_arrivals_does_what_it_always_does(
    waiting: Waiting, autojump_clock: MockClock, number: int
) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(waiting.intake.serve, waiting.handle)
        for count in range(7):
            waiting.peer.send(b"lone")
            await waiting.until(count + 1)
        waiting.always = number
        waiting.peer.send(b"x")
        await trio.sleep(10.5 * PAUSE)
        assert waiting.lines == [f"event=receiving_paused on=here error={errno.errorcode[number]}"]
        waiting.always = 0
        await waiting.until(8)
        nursery.cancel_scope.cancel()
    assert waiting.taken[-1] == b"x"


def refuse_to_watch(monkeypatch: pytest.MonkeyPatch, *numbers: int) -> None:
    """Have the kernel refuse to watch descriptors, as Trio reports it."""
    left = list(numbers)
    wait = trio.lowlevel.wait_readable

    async def refused(sock: socket.socket) -> None:
        if not left:
            await wait(sock)
            return
        try:
            raise OSError(left.pop(0), "epoll_ctl")
        except OSError:
            raise FileExistsError(errno.EEXIST, "epoll_ctl once more")  # noqa: B904 - as Trio does

    monkeypatch.setattr(trio.lowlevel, "wait_readable", refused)


async def test_a_socket_that_the_kernel_does_not_watch_is_tried_again(
    waiting: Waiting, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse_to_watch(monkeypatch, errno.ENOSPC, errno.ENOMEM)
    waiting.peer.send(b"one")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(waiting.intake.serve, waiting.handle)
        await waiting.until(1)
        nursery.cancel_scope.cancel()
    assert trio.current_time() >= 2 * PAUSE
    assert [line.split()[0] for line in waiting.lines] == [
        "event=receiving_paused",
        "event=receiving_resumed",
    ]
    assert "error=ENOSPC" in waiting.lines[0]


async def test_who_does_not_ask_is_not_told_of_the_refusals(
    waiting: Waiting, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse_to_watch(monkeypatch, errno.ENOMEM)
    waiting.peer.send(b"one")
    await until_readable(waiting.socket)
    assert trio.current_time() >= PAUSE
