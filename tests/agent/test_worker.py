"""One job: when it runs, the environment of its command, and its lines in the log.

The time is Trio's mock clock, which starts at 0. So a run takes as long as a test says.
test_process has the real processes, and tests/system/test_agent.py has both together.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import pytest
import trio
from trio.testing import MockClock

from mailbell.agent import _worker
from mailbell.agent._pace import Timing, Trigger
from mailbell.agent._places import Places
from mailbell.agent._process import Control, Ended
from mailbell.agent._session import Running
from mailbell.agent._worker import Worker
from mailbell.agent.configuration import Job
from mailbell.agent.log import Log

FETCH: Final = Job("mail", ("fetch", "-a"), accounts=("work",))


@dataclass
class Commands:
    """Stands in for the processes: records what was run, and that two never overlap."""

    seconds: float = 3.0
    codes: list[int] = field(default_factory=list)  # the exit codes of the next runs; then 0
    obeys: str = "terminate"
    sticks: bool = False  # whether something is left that SIGKILL does not end
    runs: list[tuple[float, tuple[str, ...]]] = field(default_factory=list)
    environ: list[Mapping[str, str]] = field(default_factory=list)
    at_once: int = 0

    async def run(
        self,
        argv: tuple[str, ...],
        environ: Mapping[str, str],
        *,
        output: Callable[[bytes], None],
        control: Control,
        running: Running,
        kill_after: float,
        stuck: Callable[[], None],
    ) -> Ended:
        assert not len(running)
        assert kill_after == Timing().kill_after
        assert self.at_once == 0
        self.at_once += 1
        self.runs.append((trio.current_time(), argv))
        self.environ.append(environ)
        output(b"fetched\x1b[2J")
        told = control.terminating if self.obeys == "terminate" else control.killing
        with trio.move_on_after(self.seconds):
            await told.wait()
        self.at_once -= 1
        if self.sticks:
            stuck()
        timed_out = told.is_set()
        code = self.codes.pop(0) if self.codes else 0
        return Ended(code=code, seconds=self.seconds, timed_out=timed_out)

    @property
    def starts(self) -> list[float]:
        return [when for when, _ in self.runs]


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> Commands:
    made = Commands()
    monkeypatch.delenv(
        "MAILBELL_STRICT", raising=False
    )  # a variable of the tests, which no command needs
    monkeypatch.setattr(_worker, "run", made.run)
    return made


class Lines(Log):
    """A log that keeps its lines."""

    def __init__(self) -> None:
        super().__init__({}, trio.current_time)
        self.lines: list[str] = []

    def _write(self, line: str) -> None:
        self.lines.append(line)


async def test_it_runs_when_it_is_settled_and_says_so(
    autojump_clock: MockClock, commands: Commands, nursery: trio.Nursery
) -> None:
    log = Lines()
    worker = Worker(FETCH, log, trio.Lock(), Running(), Places())
    nursery.start_soon(worker.serve)
    await trio.sleep(100)
    worker.ring(Trigger.NETWORK, count=2, account="work", source="192.0.2.1")
    await trio.sleep(10)
    assert commands.runs == [(101.0, ("fetch", "-a"))]
    told = commands.environ[0]
    assert {name: text for name, text in told.items() if name.startswith("MAILBELL_")} == {
        "MAILBELL_ACCOUNT": "work",
        "MAILBELL_CAUSE": "network",
        "MAILBELL_COUNT": "2",
        "MAILBELL_SOURCE": "192.0.2.1",
    }
    assert "PATH" in told
    assert log.lines == [
        "event=run job=mail cause=network count=2",
        'event=output job=mail line="fetched\\x1b[2J"',
        "event=ran job=mail program=fetch seconds=3.0 code=0",
    ]


async def test_the_next_run_is_told_of_nothing_that_is_over(
    autojump_clock: MockClock, commands: Commands, nursery: trio.Nursery
) -> None:
    worker = Worker(FETCH, Lines(), trio.Lock(), Running(), Places())
    nursery.start_soon(worker.serve)
    worker.ring(Trigger.NETWORK, count=1, account="other", source="192.0.2.1")
    await trio.sleep(100)
    worker.ring(Trigger.RESUME)
    await trio.sleep(100)
    assert [told["MAILBELL_ACCOUNT"] for told in commands.environ] == ["other", "work"]
    assert [told["MAILBELL_SOURCE"] for told in commands.environ] == ["192.0.2.1", ""]
    assert [told["MAILBELL_COUNT"] for told in commands.environ] == ["1", "0"]


async def test_a_run_for_all_accounts_is_not_narrowed_by_one_that_rings(
    autojump_clock: MockClock, commands: Commands, nursery: trio.Nursery
) -> None:
    job = Job("mail", ("fetch",), accounts=("work", "home"))
    worker = Worker(job, Lines(), trio.Lock(), Running(), Places())
    nursery.start_soon(worker.serve)
    worker.ring(Trigger.START)
    worker.ring(Trigger.NETWORK, count=1, account="work")
    await trio.sleep(100)
    worker.ring(Trigger.NETWORK, count=1, account="home")
    worker.ring(Trigger.RESUME)
    await trio.sleep(100)
    worker.ring(Trigger.NETWORK, count=1, account="home")
    await trio.sleep(100)
    told = [environ["MAILBELL_ACCOUNT"] for environ in commands.environ]
    assert told == ["work home", "work home", "home"]


async def test_after_a_failure_the_next_run_is_for_the_same_accounts_too(
    autojump_clock: MockClock, commands: Commands, nursery: trio.Nursery
) -> None:
    commands.seconds, commands.codes = 0.0, [1, 1, 0, 0, 1, 0]
    worker = Worker(Job("mail", ("fetch",)), Lines(), trio.Lock(), Running(), Places())
    nursery.start_soon(worker.serve)
    worker.ring(Trigger.NETWORK, count=1, account="work")
    await trio.sleep(10)
    worker.ring(Trigger.NETWORK, count=1, account="home")
    await trio.sleep(500)
    worker.ring(Trigger.NETWORK, count=1, account="work")
    await trio.sleep(500)
    worker.ring(Trigger.RESUME)
    await trio.sleep(10)
    worker.ring(Trigger.NETWORK, count=1, account="work")
    await trio.sleep(500)
    told = [environ["MAILBELL_ACCOUNT"] for environ in commands.environ]
    assert told == ["work", "work home", "work home", "work", "", ""]


async def test_more_accounts_than_a_variable_holds_are_all_accounts(
    autojump_clock: MockClock, commands: Commands, nursery: trio.Nursery
) -> None:
    worker = Worker(Job("mail", ("fetch",)), Lines(), trio.Lock(), Running(), Places())
    nursery.start_soon(worker.serve)
    for number in range(3000):
        worker.ring(Trigger.RESYNC, account=f"{number:064}")
    await trio.sleep(100)
    (environ,) = commands.environ
    assert environ["MAILBELL_ACCOUNT"] == ""


def expected_starts(rings: list[float], timing: Timing, takes: float, end: float) -> list[float]:
    """Compute the starts by the rules of docs/agent.md, in one pass over the notifications."""
    starts: list[float] = []
    free = gap = -1e9
    waiting: list[float] = []
    for ring in [*rings, end]:
        while waiting:
            settled = min(waiting[-1] + timing.settle, waiting[0] + timing.settle_max)
            start = max(settled, gap, free)
            if start > ring:
                break
            starts.append(start)
            free, gap = start + takes, start + timing.min_gap
            waiting = [other for other in waiting if other > start]
        waiting.append(ring)
    return starts


@pytest.mark.parametrize(
    ("gap", "most", "runs"), [(0.0, 10.0, 1), (0.0, 1.0, 4), (5.0, 1.0, 3), (30.0, 1.0, 2)]
)
async def test_a_storm_is_as_many_runs_as_the_manual_says(
    autojump_clock: MockClock,
    commands: Commands,
    nursery: trio.Nursery,
    gap: float,
    most: float,
    runs: int,
) -> None:
    """500 notifications in 10 s while each run takes 3 s, then silence."""
    timing = Timing(settle_max=most, min_gap=gap, poll=0)
    worker = Worker(
        Job("mail", ("fetch",), timing=timing), Lines(), trio.Lock(), Running(), Places()
    )
    nursery.start_soon(worker.serve)
    rings = [n / 50 for n in range(1, 501)]
    for ring in rings:
        await trio.sleep_until(ring)
        worker.ring(Trigger.NETWORK, count=1)
    await trio.sleep(1000)
    assert commands.starts == pytest.approx(expected_starts(rings, timing, 3.0, 1000.0))
    assert len(commands.starts) == runs
    assert sum(int(told["MAILBELL_COUNT"]) for told in commands.environ) == 500


async def test_five_failures_are_tried_again_later_and_later(
    autojump_clock: MockClock, commands: Commands, nursery: trio.Nursery
) -> None:
    commands.seconds, commands.codes = 0.0, [1, 1, 1, 1, 1]
    log = Lines()
    worker = Worker(FETCH, log, trio.Lock(), Running(), Places())
    nursery.start_soon(worker.serve)
    worker.ring(Trigger.NETWORK, count=1)
    await trio.sleep(3000)
    assert commands.starts == [float(t) for t in (1, 31, 91, 211, 451, 931)]
    assert worker.failures == 0
    assert [line for line in log.lines if "event=retry" in line] == [
        f"event=retry job=mail failures={n} seconds={s}"
        for n, s in [(1, 30), (2, 60), (3, 120), (4, 240), (5, 480)]
    ]


async def test_what_follows_runs_after_success_only(
    autojump_clock: MockClock, commands: Commands, nursery: trio.Nursery
) -> None:
    job = Job("mail", ("fetch",), then=("index",), ok_codes=frozenset({0, 9}))
    commands.seconds, commands.codes = 0.0, [1, 9, 9, 0, 0]
    worker = Worker(job, Lines(), trio.Lock(), Running(), Places())
    nursery.start_soon(worker.serve)
    worker.ring(Trigger.NETWORK, count=1)
    await trio.sleep(1000)
    # The command failed; it succeeded with a code that fails `then`; both succeeded.
    assert [argv[0] for _, argv in commands.runs] == ["fetch", "fetch", "index", "fetch", "index"]


async def test_a_busy_mail_server_is_asked_again_and_no_failure_is_logged(
    autojump_clock: MockClock, commands: Commands, nursery: trio.Nursery
) -> None:
    job = Job("mail", ("fetch",), then=("index",), busy_codes=frozenset({0, 9}))
    commands.seconds, commands.codes = 0.0, [9, 0, 0]
    log = Lines()
    worker = Worker(job, log, trio.Lock(), Running(), Places())
    nursery.start_soon(worker.serve)
    worker.ring(Trigger.NETWORK, count=1, account="work")
    await trio.sleep(1000)
    assert [argv[0] for _, argv in commands.runs] == ["fetch", "fetch", "index"]
    assert commands.starts[:2] == [1.0, 31.0]
    assert "event=busy job=mail seconds=30" in log.lines
    assert not any("event=retry" in line for line in log.lines)
    assert worker.failures == 0


@pytest.mark.parametrize(("obeys", "until"), [("terminate", 301.0), ("kill", 311.0)])
async def test_a_run_that_takes_too_long_is_ended_and_has_failed(
    autojump_clock: MockClock, commands: Commands, nursery: trio.Nursery, obeys: str, until: float
) -> None:
    commands.seconds, commands.obeys = 10_000.0, obeys
    log = Lines()
    worker = Worker(FETCH, log, trio.Lock(), Running(), Places())
    nursery.start_soon(worker.serve)
    worker.ring(Trigger.NETWORK, count=1)
    await trio.sleep(320)
    assert commands.at_once == 0
    assert "event=run_too_long job=mail" in log.lines
    assert ("event=run_killed job=mail" in log.lines) == (obeys == "kill")
    await trio.sleep(30)
    assert commands.starts == [1.0, until + 30]


async def test_what_cannot_be_ended_is_said(
    autojump_clock: MockClock, commands: Commands, nursery: trio.Nursery
) -> None:
    commands.sticks = True
    log = Lines()
    worker = Worker(FETCH, log, trio.Lock(), Running(), Places())
    nursery.start_soon(worker.serve)
    worker.ring(Trigger.NETWORK, count=1)
    await trio.sleep(10)
    assert "event=run_stuck job=mail program=fetch" in log.lines


async def test_jobs_that_share_a_turn_wait_for_each_other(
    autojump_clock: MockClock, commands: Commands, nursery: trio.Nursery
) -> None:
    turn = trio.Lock()
    workers = [
        Worker(Job(name, (name,)), Lines(), turn, Running(), Places()) for name in ("one", "two")
    ]
    for worker in workers:
        nursery.start_soon(worker.serve)
        worker.ring(Trigger.NETWORK, count=1)
    await trio.sleep(2)
    workers[0].ring(Trigger.NETWORK, count=1)
    await trio.sleep(20)
    assert sorted(argv[0] for _, argv in commands.runs) == ["one", "two"]
    assert sorted(commands.starts) == [1.0, 4.0]


def test_an_end_is_described_without_what_goes_without_saying() -> None:
    describe: Any = _worker.describe
    assert describe(Ended(code=0)) == {"seconds": "0.0", "code": 0}
    assert describe(Ended(signal=9, dropped=7, left_over=True, seconds=1.25)) == {
        "seconds": "1.2",
        "signal": "SIGKILL",
        "dropped": 7,
        "left_over": "ended",
    }
    assert describe(Ended(signal=40))["signal"] == "40"
    assert describe(Ended(timed_out=True))["timed_out"] == "yes"
    assert describe(Ended(problem="not there"))["problem"] == "not there"


async def test_a_job_is_stuck_until_its_run_is_over(
    autojump_clock: MockClock, commands: Commands, nursery: trio.Nursery
) -> None:
    commands.sticks = True
    seen: list[bool] = []

    class Looking(Lines):
        def _write(self, line: str) -> None:
            if "run_stuck" in line or "event=ran" in line:
                seen.append(worker.is_stuck)

    worker = Worker(FETCH, Looking(), trio.Lock(), Running(), Places())
    nursery.start_soon(worker.serve)
    worker.ring(Trigger.NETWORK, count=1)
    await trio.sleep(100)
    assert seen == [True, False]


async def test_the_accounts_of_failed_runs_are_bounded_too(
    autojump_clock: MockClock, commands: Commands, nursery: trio.Nursery
) -> None:
    """A command whose environment is too long could not start, again and again."""
    worker = Worker(FETCH, Lines(), trio.Lock(), Running(), Places())
    nursery.start_soon(worker.serve)
    commands.codes = [1, 1, 1]
    commands.seconds = 10.0
    for part in range(3):
        for number in range(_worker.MOST_NAMED):
            worker.ring(Trigger.NETWORK, count=1, account=f"{part}-{number}")
        runs = len(commands.runs)
        while len(commands.runs) == runs:
            await trio.sleep(5)
    named = [len(told["MAILBELL_ACCOUNT"].split()) for told in commands.environ]
    assert max(named) <= _worker.MOST_NAMED
    assert commands.environ[-1]["MAILBELL_ACCOUNT"] == "work"
