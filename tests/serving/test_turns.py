"""Local work in portions: how much may be done before other tasks run, and in which order."""

from collections import Counter

import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from mailbell.serving._turns import CALL, REPLY, Turns


async def work(turns: Turns, cost: int, number: int, done: list[tuple[float, int]]) -> None:
    await turns.wait(cost)
    done.append((trio.current_time(), number))


async def do(cost: int, pieces: int) -> list[tuple[float, int]]:
    """Do pieces of work that are all ready at the same moment; return when each was done."""
    turns, done = Turns(), list[tuple[float, int]]()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(turns.serve)
        async with trio.open_nursery() as working:
            for number in range(pieces):
                working.start_soon(work, turns, cost, number, done)
        nursery.cancel_scope.cancel()
    assert sorted(number for _, number in done) == list(range(pieces))
    return done


async def test_little_work_waits_for_nothing() -> None:
    turns = Turns()  # nothing serves it
    for _ in range(16):
        await turns.wait(REPLY)


async def test_of_much_work_only_a_portion_is_done_before_the_loop_rests(
    autojump_clock: MockClock,
) -> None:
    at = Counter(time for time, _ in await do(REPLY, 1000))
    portions = list(at.values())
    # At first one portion without waiting, and then the first one of those that waited.
    assert portions[0] == 32
    assert set(portions[1:-1]) == {16}


async def test_calls_are_fewer(autojump_clock: MockClock) -> None:
    at = Counter(time for time, _ in await do(CALL, 100))
    assert max(at.values()) == 8
    assert list(at.values())[1] == 4


async def test_those_that_wait_get_their_turns_in_order(autojump_clock: MockClock) -> None:
    turns, done = Turns(), list[tuple[float, int]]()
    async with trio.open_nursery() as nursery:
        for number in range(60):
            nursery.start_soon(work, turns, REPLY, number, done)
            await wait_all_tasks_blocked()
        assert len(done) == 16
        nursery.start_soon(turns.serve)
        while len(done) < 60:
            await trio.sleep(0.01)
        nursery.cancel_scope.cancel()
    assert [number for _, number in sorted(done)] == list(range(60))  # sorted by time


async def test_one_that_gives_up_takes_no_turn(autojump_clock: MockClock) -> None:
    turns = Turns()
    for _ in range(16):
        await turns.wait(REPLY)
    with trio.move_on_after(1) as gone:
        await turns.wait(REPLY)
    assert gone.cancelled_caught
    assert not turns._queue


async def test_after_the_queue_there_is_a_whole_portion_again(autojump_clock: MockClock) -> None:
    await do(REPLY, 40)
    turns = Turns()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(turns.serve)
        for _ in range(100):  # one at a time, as notifications come
            with trio.fail_after(0.5):
                await turns.wait(REPLY)
        assert trio.current_time() < 0.1
        nursery.cancel_scope.cancel()
