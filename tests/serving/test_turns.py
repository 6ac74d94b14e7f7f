"""Local work in portions: how much may be done before other tasks run, and in which order."""

from collections import Counter

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from mailbell.serving._turns import CALL, REPLY, Turns

Done = tuple[int, int]  # the turn of the loop, and which piece of work


class Loop(trio.abc.Instrument):
    """Counts the turns of the event loop."""

    turn = 0

    def before_io_wait(self, timeout: float) -> None:
        del timeout
        self.turn += 1


async def work(turns: Turns, cost: int, loop: Loop, number: int, done: list[Done]) -> None:
    await turns.wait(cost)
    done.append((loop.turn, number))


async def do(cost: int, pieces: int) -> list[Done]:
    """Do pieces of work that are all ready at the same moment; return the turn of each."""
    turns, done, loop = Turns(), list[Done](), Loop()
    trio.lowlevel.add_instrument(loop)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(turns.serve)
        async with trio.open_nursery() as working:
            for number in range(pieces):
                working.start_soon(work, turns, cost, loop, number, done)
        nursery.cancel_scope.cancel()
    trio.lowlevel.remove_instrument(loop)
    assert sorted(number for _, number in done) == list(range(pieces))
    return done


async def test_little_work_waits_for_nothing() -> None:
    turns = Turns()  # nothing serves it
    for _ in range(16):
        await turns.wait(REPLY)


async def test_of_much_work_only_a_portion_is_done_before_the_loop_rests(
    autojump_clock: MockClock,
) -> None:
    began = trio.current_time()
    in_turn = Counter(turn for turn, _ in await do(REPLY, 1000))
    # One portion without waiting, and then those that waited.
    assert max(in_turn.values()) == 16
    assert len(in_turn) == 63
    assert trio.current_time() - began == pytest.approx(15 * 0.001), "a rest after four portions"


async def test_calls_are_fewer(autojump_clock: MockClock) -> None:
    in_turn = Counter(turn for turn, _ in await do(CALL, 100))
    assert max(in_turn.values()) == 4


@pytest.mark.parametrize("pieces", [5, 6, 9, 30])
async def test_a_portion_is_never_exceeded_in_whatever_order_tasks_run(
    pieces: int, autojump_clock: MockClock
) -> None:
    # Trio runs the tasks of a turn in an order of its own, so the one that gives the turns may
    # come after any of them. What it gives is a part of the same portion.
    for _ in range(50):
        in_turn = Counter(turn for turn, _ in await do(CALL, pieces))
        assert max(in_turn.values()) == 4


async def test_whoever_got_a_turn_may_go_on_with_the_rest_of_its_portion(
    autojump_clock: MockClock,
) -> None:
    """Otherwise a client with many replies would have one in each turn of the loop."""
    turns, loop, done = Turns(), Loop(), Counter[int]()
    trio.lowlevel.add_instrument(loop)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(turns.serve)
        for _ in range(160):
            await turns.wait(REPLY)
            done[loop.turn] += 1
        nursery.cancel_scope.cancel()
    trio.lowlevel.remove_instrument(loop)
    assert list(done.values()) == [16] * 10


async def test_an_event_that_was_set_at_once_opens_nothing() -> None:
    turns, event = Turns(), trio.Event()
    turns.ask(event, REPLY)
    assert event.is_set()
    turns.begin(event)
    for _ in range(15):
        await turns.wait(REPLY)
    with trio.move_on_after(0) as gone:
        await turns.wait(REPLY)
    assert gone.cancelled_caught


@pytest.mark.parametrize("pieces", [5, 9, 30])
async def test_no_turn_of_the_loop_has_more_than_a_portion_of_clients_that_go_on(
    pieces: int, autojump_clock: MockClock
) -> None:
    async def client(turns: Turns, loop: Loop, done: Counter[int]) -> None:
        for _ in range(5):
            await turns.wait(REPLY)
            done[loop.turn] += 1

    for _ in range(50):
        turns, loop, done = Turns(), Loop(), Counter[int]()
        trio.lowlevel.add_instrument(loop)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(turns.serve)
            async with trio.open_nursery() as working:
                for _ in range(pieces):
                    working.start_soon(client, turns, loop, done)
            nursery.cancel_scope.cancel()
        trio.lowlevel.remove_instrument(loop)
        assert done.total() == 5 * pieces
        assert max(done.values()) <= 16


async def test_those_that_wait_get_their_turns_in_order(autojump_clock: MockClock) -> None:
    turns, done = Turns(), list[Done]()
    async with trio.open_nursery() as nursery:
        for number in range(60):
            nursery.start_soon(work, turns, REPLY, Loop(), number, done)
            await wait_all_tasks_blocked()
        assert len(done) == 16
        nursery.start_soon(turns.serve)
        while len(done) < 60:
            before = len(done)
            await trio.sleep(0.01)
            assert {n for _, n in done[before:]} == set(range(before, len(done)))
        nursery.cancel_scope.cancel()


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
