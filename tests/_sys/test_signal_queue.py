"""Signals as events: each is taken once, and a signal that is not taken has no effect."""

import errno
import os
import signal
from collections.abc import Iterator
from types import SimpleNamespace

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from mailbell._sys.signal_queue import SignalQueue

BOTH = (signal.SIGUSR1, signal.SIGUSR2)


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    """Restore the handlers, whatever a test does."""
    before = {number: signal.getsignal(number) for number in BOTH}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def send(*numbers: signal.Signals) -> None:
    for number in numbers:
        os.kill(os.getpid(), number)


async def test_each_kind_is_taken_once_in_the_order_of_arrival() -> None:
    queue = SignalQueue(BOTH)
    send(signal.SIGUSR2)
    await wait_all_tasks_blocked()
    send(signal.SIGUSR1, signal.SIGUSR2)
    await wait_all_tasks_blocked()
    assert [await anext(queue), await anext(queue)] == [signal.SIGUSR2, signal.SIGUSR1]
    with trio.move_on_after(0) as scope:
        await anext(queue)
    assert scope.cancelled_caught


async def test_it_waits() -> None:
    queue = SignalQueue(BOTH)
    taken: list[signal.Signals] = []

    async def take() -> None:
        taken.append(await anext(queue))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(take)
        await wait_all_tasks_blocked()
        send(signal.SIGUSR1)
        with trio.fail_after(10):
            while not taken:
                await trio.lowlevel.checkpoint()
        nursery.cancel_scope.cancel()
    assert taken == [signal.SIGUSR1]


async def test_afterwards_the_handlers_are_those_of_before() -> None:
    arrived = []
    signal.signal(signal.SIGUSR1, lambda number, _: arrived.append(number))
    queue = SignalQueue(BOTH)
    send(signal.SIGUSR1)
    queue.give_back()
    assert arrived == []
    send(signal.SIGUSR1)
    assert arrived == [signal.SIGUSR1]


def test_after_the_end_of_the_loop_a_signal_does_nothing() -> None:
    async def make() -> None:
        SignalQueue(BOTH)

    trio.run(make)
    send(*BOTH)


async def test_a_loop_that_cannot_be_woken_still_takes_the_signal(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The error must not be raised in the middle of whatever the signal interrupted."""
    queue = SignalQueue(BOTH)
    schedule = queue._token.run_sync_soon

    def notes_and_fails(*args: object, **more: object) -> None:
        schedule(*args, **more)  # type: ignore[arg-type]  # passed on as they are
        raise OSError(errno.ENOBUFS, "refused")

    monkeypatch.setattr(queue, "_token", SimpleNamespace(run_sync_soon=notes_and_fails))
    send(signal.SIGUSR1)
    with trio.fail_after(10):
        assert await anext(queue) == signal.SIGUSR1
