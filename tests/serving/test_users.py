"""The limit of each user: in turn, bounded, and nobody's turn is lost."""

import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from mailbell.serving import _users
from mailbell.serving._users import Users

RATE, BURST, WAITING = 10.0, 3, 4
HERE, THERE = 1000, 1001


async def come(users: Users, uid: int, name: int, done: list[int]) -> None:
    await users.wait(uid)
    done.append(name)


async def test_within_the_burst_nobody_waits() -> None:
    users = Users(RATE, BURST, WAITING)  # nothing serves it
    for uid in (HERE, THERE):
        for _ in range(BURST):
            await users.wait(uid)


async def test_over_it_the_one_that_has_waited_longest_is_next(mock_clock: MockClock) -> None:
    users, done = Users(RATE, BURST, WAITING), list[int]()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(users.serve)
        for name in range(BURST + WAITING):
            nursery.start_soon(come, users, HERE, name, done)
            await wait_all_tasks_blocked()
        assert done == [0, 1, 2]
        nursery.start_soon(come, users, THERE, 99, done)
        await wait_all_tasks_blocked()
        assert done[-1] == 99, "another user waits for nobody"
        for name in range(3, 7):
            await advance(mock_clock, 1 / RATE + _users.PAUSE)
            assert done[-1] == name
        nursery.cancel_scope.cancel()


async def test_only_a_few_may_wait_and_whoever_leaves_makes_room(mock_clock: MockClock) -> None:
    users, done = Users(RATE, BURST, WAITING), list[int]()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(users.serve)
        for name in range(BURST):
            nursery.start_soon(come, users, HERE, name, done)
        await wait_all_tasks_blocked()
        async with trio.open_nursery() as leaving:
            for name in range(WAITING):
                assert not users.is_full(HERE)
                leaving.start_soon(come, users, HERE, name, done)
                await wait_all_tasks_blocked()
            assert users.is_full(HERE)
            assert not users.is_full(THERE)
            leaving.cancel_scope.cancel()
        assert not users.is_full(HERE)
        nursery.start_soon(come, users, HERE, 50, done)
        await wait_all_tasks_blocked()
        await advance(mock_clock, 1 / RATE + _users.PAUSE)
        assert sorted(done) == [0, 1, 2, 50]
        assert not users._queues, "nothing is kept of a user that waits for nothing"
        nursery.cancel_scope.cancel()


async def advance(clock: MockClock, seconds: float) -> None:
    for _ in range(20):
        clock.jump(seconds / 20)
        await wait_all_tasks_blocked()
