"""Messages on the pair: what waits, what is tried again, and what is the end."""

import errno
import socket
from collections.abc import Iterator
from itertools import count

import pytest
import trio
from harness.refusing import Refusing
from trio.testing import MockClock, wait_all_tasks_blocked

from mailbell.sender._pair import _BATCH, Unsent, receive, says_the_end, until_sendable
from mailbell.serving.intake import PAUSE

SIZE = 64


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with near, far:
        near.setblocking(False)
        yield near, far


def test_only_some_errors_say_that_the_other_end_is_closed() -> None:
    near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with near:
        far.close()
        with pytest.raises(OSError, match="Broken pipe") as caught:
            near.send(b".")
    assert says_the_end(caught.value)
    assert not says_the_end(OSError(errno.ENOBUFS, ""))
    assert not says_the_end(OSError(errno.ENOMEM, ""))


Ends = tuple[socket.socket, socket.socket]


async def test_what_is_there_is_read_in_batches(pair: Ends) -> None:
    near, far = pair
    said = [b"%d" % number for number in range(_BATCH + 1)]
    for each in said:
        far.send(each)
    assert await receive(near, SIZE) == said[:_BATCH]
    assert await receive(near, SIZE) == said[_BATCH:]


async def test_the_last_words_come_before_the_end(pair: Ends) -> None:
    near, far = pair
    near.send(b"unread")
    far.send(b"last")
    far.close()  # with a message unread: the first call says ECONNRESET
    assert await receive(near, SIZE) == [b"last"]
    assert await receive(near, SIZE) == []


@pytest.mark.parametrize("number", [errno.ENOBUFS, errno.ENOMEM, errno.EIO])
async def test_what_is_refused_for_a_while_is_tried_again(
    pair: Ends, number: int, autojump_clock: MockClock
) -> None:
    near, far = pair
    far.send(b"word")
    refusing = Refusing(near, "recv", number)
    began = trio.current_time()
    assert await receive(refusing, SIZE) == [b"word"]  # type: ignore[arg-type]  # as far as it is used
    assert trio.current_time() == began + 2 * PAUSE
    assert refusing.refusals == 0


async def test_one_error_is_not_the_end_and_two_are(pair: Ends) -> None:
    near, far = pair
    far.send(b"word")
    once = Refusing(near, "recv", errno.ECONNRESET, 1)
    assert await receive(once, SIZE) == [b"word"]  # type: ignore[arg-type]  # as far as it is used
    far.send(b"word")
    always = Refusing(near, "recv", errno.ECONNRESET, 1000)
    assert await receive(always, SIZE) == []  # type: ignore[arg-type]  # as far as it is used
    assert always.refusals == 998


def fill(sock: socket.socket) -> tuple[int, OSError]:
    """Send until there is no room; return how many messages, and the refusal."""
    for sent in count():
        try:
            sock.send(b"x" * SIZE)
        except BlockingIOError as error:
            return sent, error
    raise AssertionError


async def test_a_message_waits_for_room(pair: Ends) -> None:
    near, far = pair
    sent, refusal = fill(near)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(until_sendable, near, refusal)
        await wait_all_tasks_blocked()
        for _ in range(sent):
            far.recv(SIZE)
    near.send(b"y")


@pytest.mark.parametrize("number", [errno.ENOBUFS, errno.ECONNRESET])
async def test_any_other_refusal_costs_a_pause(
    pair: Ends, number: int, autojump_clock: MockClock
) -> None:
    began = trio.current_time()
    await until_sendable(pair[0], OSError(number, "refused"))
    assert trio.current_time() == began + PAUSE


async def test_so_does_a_descriptor_that_cannot_be_watched(
    pair: Ends, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(_: object) -> None:
        raise OSError(errno.ENOSPC, "too many are watched")

    monkeypatch.setattr(trio.lowlevel, "wait_writable", refuse)
    began = trio.current_time()
    await until_sendable(pair[0], BlockingIOError())
    assert trio.current_time() == began + PAUSE


async def test_messages_are_sent_in_their_order_whatever_is_refused(
    pair: Ends, autojump_clock: MockClock
) -> None:
    near, far = pair
    unsent = Unsent(str.encode)
    unsent.add("one", "two")
    unsent.add()
    assert (len(unsent), list(unsent)) == (2, ["one", "two"])
    for number in (errno.ENOBUFS, errno.ECONNRESET):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(unsent.send, Refusing(near, "send", number))  # type: ignore[arg-type]  # as far as it is used
            await trio.sleep(3 * PAUSE)
            assert [far.recv(SIZE), far.recv(SIZE)] == [b"one", b"two"]
            assert len(unsent) == 0
            unsent.add("three")
            await wait_all_tasks_blocked()
            assert far.recv(SIZE) == b"three"
            nursery.cancel_scope.cancel()
        unsent.add("one", "two")


async def test_what_is_not_wanted_any_more_is_not_sent(pair: Ends) -> None:
    near, far = pair
    unsent = Unsent(str.encode)
    unsent.add("one", "two", "three")
    unsent.keep(lambda word: word != "two")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(unsent.send, near)
        await wait_all_tasks_blocked()
        assert [far.recv(SIZE), far.recv(SIZE)] == [b"one", b"three"]
        nursery.cancel_scope.cancel()
