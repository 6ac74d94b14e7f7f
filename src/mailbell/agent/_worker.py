"""One job of the agent: its pace, its runs and its lines in the log.

This module decides whether a run succeeded. `mailbell.agent._pace` decides when a run
starts, and `mailbell.agent._process` runs the command.
"""

import os
import signal
from collections.abc import Iterable, Mapping
from enum import Enum
from math import inf
from typing import Final

import trio

from mailbell._sys.systemd import PASSED
from mailbell.agent._pace import Pace, Pending, Step, Trigger
from mailbell.agent._places import Place, Places
from mailbell.agent._process import Control, Ended, run
from mailbell.agent._session import Running
from mailbell.agent.configuration import Job
from mailbell.agent.log import Log
from mailbell.logs.journal import Level

__all__ = ["Worker"]

SUCCESS: Final = frozenset({0})
NONE: Final[frozenset[int]] = frozenset()
# A variable has room for 128 KiB (execve(2)), and a name has up to 64 characters.
MOST_NAMED: Final = 1_000


class _Outcome(Enum):
    """How a command, or a run, came out."""

    OK = "ok"
    BUSY = "busy"  # the mail server was busy
    FAILED = "failed"


class Worker:
    """Runs one job when its pace says so.

    Args:
        job: the job.
        log: records events and the output of the commands.
        turn: a lock that is held during a run. Jobs that must not overlap share one.
        running: records the session of each command.
        places: bounds how many commands run at once.
    """

    def __init__(
        self, job: Job, log: Log, turn: trio.Lock, running: Running, places: Places
    ) -> None:
        self.job = job
        self._log = log
        self._turn = turn
        self._running = running
        self._places = places
        self._place: Place | None = None  # of the run that goes on
        self._pace = Pace(job.timing, trio.current_time())
        self._rung = trio.Event()
        self._accounts: dict[str, None] = {}  # the accounts of the next run, in order
        self._all = False  # whether the next run is for all accounts of the job
        self._source = ""
        self._stuck = False

    @property
    def is_stuck(self) -> bool:
        """Whether a run goes on because something of it cannot be ended."""
        return self._stuck

    @property
    def failures(self) -> int:
        """How many runs have failed in a row."""
        return self._pace.failures

    def ring(
        self, trigger: Trigger, *, count: int = 0, account: str = "", source: str = ""
    ) -> None:
        """Note that a run is wanted.

        Args:
            trigger: the cause.
            count: the number of notifications.
            account: the account to fetch for; empty: all accounts of the job.
            source: the numeric address of the mail server, if one rang.
        """
        self._all = self._all or not account or len(self._accounts) >= MOST_NAMED
        if not self._all:
            self._accounts[account] = None
        self._source = source or self._source
        self._pace.ring(trio.current_time(), trigger, count)
        self._rung.set()

    async def serve(self) -> None:
        """Run the job each time that it is wanted, until cancelled."""
        while True:
            await self._next_step()
            # Who waits for another job of the same accounts needs no place meanwhile. What
            # rings while the job waits is answered by the run that it waits for.
            async with self._turn, self._places.one() as self._place:
                if not self._running.holds():
                    await trio.sleep_forever()  # the agent ends
                await self._run(self._pace.started(trio.current_time()))

    async def _next_step(self) -> Step:
        """Wait for the next step of the pace."""
        while True:
            if step := self._pace.step(trio.current_time()):
                return step
            self._rung = trio.Event()
            with trio.move_on_at(inf if self._pace.due is None else self._pace.due):
                await self._rung.wait()

    async def _run(self, pending: Pending) -> None:
        """Run the command, and after a success the command `then`."""
        self._log.log(
            Level.INFO, "run", job=self.job.name, cause=pending.trigger.value, count=pending.count
        )
        accounts, self._accounts = self._accounts, {}
        for_all, self._all = self._all or not accounts, False
        environ = self._environ(pending, () if for_all else accounts)
        control = Control()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._end_in_time, control)
            outcome = await self._run_all(environ, control)
            nursery.cancel_scope.cancel()
        now = trio.current_time()
        busy = outcome is _Outcome.BUSY
        self._pace.ended(now, ok=outcome is _Outcome.OK, busy=busy)
        if outcome is _Outcome.OK:
            return
        # The next run is also for these accounts.
        self._accounts = accounts | self._accounts
        self._all = self._all or for_all or len(self._accounts) > MOST_NAMED
        if self._pace.due is not None:
            seconds = round(self._pace.due - now)
            if busy:
                self._log.log(Level.INFO, "busy", job=self.job.name, seconds=seconds)
            else:
                self._log.log(
                    Level.WARNING, "retry", job=self.job.name,
                    failures=self.failures, seconds=seconds,
                )  # fmt: skip

    async def _end_in_time(self, control: Control) -> None:
        """End a run that takes too long."""
        await self._next_step()
        self._log.log(Level.WARNING, "run_too_long", job=self.job.name)
        control.terminate()
        await self._next_step()
        self._log.log(Level.WARNING, "run_killed", job=self.job.name)
        control.kill()

    async def _run_all(self, environ: Mapping[str, str], control: Control) -> _Outcome:
        job = self.job
        outcome = await self._run_one(job.command, environ, control, job.ok_codes, job.busy_codes)
        if outcome is _Outcome.OK and job.then:
            outcome = await self._run_one(job.then, environ, control, SUCCESS, NONE)
        return outcome

    async def _run_one(
        self,
        argv: tuple[str, ...],
        environ: Mapping[str, str],
        control: Control,
        ok_codes: frozenset[int],
        busy_codes: frozenset[int],
    ) -> _Outcome:
        def output(line: bytes) -> None:
            self._log.output(self.job.name, line)

        def stuck() -> None:
            self._stuck = True
            if self._place:
                self._place.leave_to_others()
            self._log.log(Level.WARNING, "run_stuck", job=self.job.name, program=argv[0])

        ended = await run(
            argv,
            environ,
            output=output,
            control=control,
            running=self._running,
            kill_after=self.job.timing.kill_after,
            stuck=stuck,
        )
        self._stuck = False
        outcome = _judge(ended, ok_codes, busy_codes)
        level = Level.WARNING if outcome is _Outcome.FAILED else Level.INFO
        self._log.log(level, "ran", job=self.job.name, program=argv[0], **describe(ended))
        return outcome

    def _environ(self, pending: Pending, accounts: Iterable[str]) -> dict[str, str]:
        """Return the command's environment. No value in it comes unchecked from a sender."""
        added = {
            "MAILBELL_ACCOUNT": " ".join(tuple(accounts) or self.job.accounts),
            "MAILBELL_CAUSE": pending.trigger.value,
            "MAILBELL_COUNT": str(pending.count),
            "MAILBELL_SOURCE": self._source,
        }
        self._source = ""
        kept = {name: text for name, text in os.environ.items() if name not in PASSED}
        return {**kept, **added}


def _judge(ended: Ended, ok_codes: frozenset[int], busy_codes: frozenset[int]) -> _Outcome:
    if ended.timed_out:
        return _Outcome.FAILED
    if ended.code in ok_codes:
        return _Outcome.OK
    return _Outcome.BUSY if ended.code in busy_codes else _Outcome.FAILED


def signal_name(number: int | None) -> str | None:
    """Return the name of a signal, or its number: real-time signals have no names."""
    try:
        return None if number is None else signal.Signals(number).name
    except ValueError:
        return str(number)


def describe(ended: Ended) -> dict[str, object]:
    """Return the fields for the log that say how a command ended, without the usual ones."""
    parts: Iterable[tuple[str, object]] = (
        ("seconds", f"{ended.seconds:.1f}"),
        ("code", ended.code),
        ("signal", signal_name(ended.signal)),
        ("problem", ended.problem or None),
        ("dropped", ended.dropped or None),
        ("timed_out", "yes" if ended.timed_out else None),
        ("left_over", "ended" if ended.left_over else None),
    )
    return {name: value for name, value in parts if value is not None}
