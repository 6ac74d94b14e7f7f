"""How many commands run at once: the bound, the order, and runs that cannot be ended.

The runs here are no processes. test_serve has the same with real ones.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from mailbell.agent import _worker
from mailbell.agent._pace import Timing, Trigger
from mailbell.agent._places import Places
from mailbell.agent._process import Ended
from mailbell.agent._session import Running
from mailbell.agent._worker import Worker
from mailbell.agent.configuration import Job
from mailbell.agent.log import Log

QUICK = Timing(settle=0, settle_max=0, min_gap=0, poll=0, timeout=1000)


@dataclass
class Runs:
    """Stands in for the processes. Each run takes a time, and may be one that does not end."""

    seconds: float = 10.0
    stuck: set[str] = field(default_factory=set)  # the programs that cannot be ended
    begun: list[tuple[float, str, str]] = field(default_factory=list)

    async def run(
        self, argv: tuple[str, ...], environ: dict[str, str], *, stuck: Callable[[], None], **_: Any
    ) -> Ended:
        self.begun.append((trio.current_time(), argv[0], environ["MAILBELL_COUNT"]))
        await trio.sleep(self.seconds)
        if argv[0] in self.stuck:
            stuck()
            stuck()  # of the same run: nothing more is given away
            await trio.sleep(1000)
        return Ended(code=0)


class Silent(Log):
    """A log without lines."""

    def __init__(self) -> None:
        super().__init__({}, trio.current_time)

    def _write(self, line: str) -> None:
        pass


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> Runs:
    made = Runs()
    monkeypatch.setattr(_worker, "run", made.run)
    return made


def workers(nursery: trio.Nursery, names: str, places: Places) -> dict[str, Worker]:
    """Start a worker for each letter. No two of them exclude each other."""
    made = {
        name: Worker(Job(name, (name,), timing=QUICK), Silent(), trio.Lock(), Running(), places)
        for name in names
    }
    for worker in made.values():
        nursery.start_soon(worker.serve)
    return made


async def test_who_waits_runs_in_turn_and_what_rings_meanwhile_is_one_run(
    autojump_clock: MockClock, runs: Runs, nursery: trio.Nursery
) -> None:
    made = workers(nursery, "abcd", Places(2))
    for name in "dbac":
        made[name].ring(Trigger.NETWORK, count=1)
        await trio.sleep(1)
    for _ in range(3):
        made["c"].ring(Trigger.NETWORK, count=1)
    await trio.sleep(100)
    assert runs.begun == [(0, "d", "1"), (1, "b", "1"), (10, "a", "1"), (11, "c", "4")]


async def test_a_run_that_cannot_be_ended_leaves_its_place_to_others(
    autojump_clock: MockClock, runs: Runs, nursery: trio.Nursery
) -> None:
    runs.stuck = {"a", "b"}
    for worker in workers(nursery, "abcdef", Places(2)).values():
        worker.ring(Trigger.NETWORK, count=1)
        await trio.sleep(1)
    await trio.sleep(100)
    assert [(when, name) for when, name, _ in runs.begun] == [
        *((0, "a"), (1, "b"), (10, "c"), (11, "d"), (20, "e"), (21, "f"))
    ]


async def test_but_the_number_of_all_runs_stays_bounded(
    autojump_clock: MockClock, runs: Runs, nursery: trio.Nursery
) -> None:
    """As when all of them wait for the same dead file server. When it is back, all run."""
    runs.stuck = {*"abcdefg"}
    for worker in workers(nursery, "abcdefg", Places(2)).values():
        worker.ring(Trigger.NETWORK, count=1)
    await trio.sleep(900)
    assert len(runs.begun) == 4
    await trio.sleep(2000)
    assert sorted(name for _, name, _ in runs.begun) == [*"abcdefg"]


async def test_an_agent_without_its_locks_begins_no_run(
    autojump_clock: MockClock, runs: Runs, nursery: trio.Nursery
) -> None:
    running = Running(holds=lambda: False)
    worker = Worker(Job("a", ("a",), timing=QUICK), Silent(), trio.Lock(), running, Places())
    nursery.start_soon(worker.serve)
    worker.ring(Trigger.NETWORK, count=1)
    await trio.sleep(100)
    assert not runs.begun
