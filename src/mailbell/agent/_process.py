"""One run of one command, from its start to the end of its last process.

The caller decides how long a run may take (`Control`). This module ends the run, also when
the agent itself must end. A run is over when nothing is left of all that descends from
the command. So the next run of the job cannot meet it. What cannot be ended delays the
next run of this job, and of the jobs that must not overlap with it.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Final

import trio

from mailbell.agent._child import Child, start
from mailbell.agent._lines import Lines
from mailbell.agent._session import Running
from mailbell.core.errors import OperatingSystemError

__all__ = ["Control", "Ended", "run"]

_CHUNK: Final = 65_536  # bytes; the size of a pipe

# All in seconds.
KILL_AFTER: Final = 10.0
# A helper that reads its end of file ends by itself in this time, and is not reported.
GRACE = 0.5
# A killed process has ended by then, unless the kernel cannot end it.
KILLED_WITHIN = 2.0
# From the end of the command to the end of its output, if another process holds the pipe.
LAST_WORDS = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How a run ended.

    Attributes:
        code: the exit status; None if a signal ended the command, or it did not start.
        signal: the signal that ended the command; None if none did.
        timed_out: whether `Control` ended the command.
        problem: why the command could not be started, and the remedy; else empty.
        seconds: how long the command ran.
        dropped: the number of bytes of its output that were not passed on.
        left_over: whether the agent ended processes that the command left behind.
    """

    code: int | None = None
    signal: int | None = None
    timed_out: bool = False
    problem: str = ""
    seconds: float = 0.0
    dropped: int = 0
    left_over: bool = False


class Control:
    """Ends one run. It may be used at any time, also before the run and after it."""

    def __init__(self) -> None:
        self.terminating = trio.Event()
        self.killing = trio.Event()

    def terminate(self) -> None:
        """Ask the command to end: SIGTERM."""
        self.terminating.set()

    def kill(self) -> None:
        """End the command: SIGKILL."""
        self.killing.set()


async def run(
    argv: Sequence[str],
    environ: Mapping[str, str],
    *,
    output: Callable[[bytes], None],
    control: Control,
    running: Running,
    kill_after: float = KILL_AFTER,
    stuck: Callable[[], None] = lambda: None,
) -> Ended:
    """Run a command until no process that descends from it is left.

    To cancel this ends the command too, in at most `kill_after` and five seconds. What
    cannot be ended in this time is left to the command's keeper, which goes on trying.

    Args:
        argv: the program and its arguments.
        environ: the whole environment of the command.
        output: called with each line that the command prints: any bytes, without the end
            of the line. At most `MAX_OUTPUT` bytes are passed. It must not raise.
        control: ends the run early.
        running: records the session of the command.
        kill_after: seconds from SIGTERM to SIGKILL when `control` does not decide: after
            a cancellation, and for processes that the command leaves behind.
        stuck: called once when SIGKILL has not ended all processes, also while the command
            itself is one of them. The run goes on until they end.

    Returns:
        How the run ended. A command that cannot be started raises no exception.
    """
    await trio.lowlevel.checkpoint()  # if this is cancelled already, the command does not start
    try:
        with ExitStack() as noted:
            child = start(
                argv,
                environ,
                locks=running.locks,
                kill_after=kill_after,
                begins=lambda session: noted.enter_context(running.during(session)),
            )
            return await _Run(child, output, kill_after, stuck).until_ended(control)
    except OperatingSystemError as error:
        return Ended(problem=str(error))


class _Run:
    def __init__(
        self,
        child: Child,
        output: Callable[[bytes], None],
        kill_after: float,
        stuck: Callable[[], None],
    ) -> None:
        self._child = child
        self._lines = Lines(output)
        self._kill_after = kill_after
        self._stuck = stuck
        self._began = trio.current_time()
        self._seconds: float | None = None  # known when the command has ended
        self._timed_out = False
        self._left_over = False
        # The output and the keeper are read to their end, also after a cancellation. Otherwise
        # the command could wait for a reader and not end.
        self._reading = trio.CancelScope(shield=True)
        self._hearing = trio.CancelScope(shield=True)
        self._insisting = trio.CancelScope(shield=True)
        self._read_all = trio.Event()

    async def until_ended(self, control: Control) -> Ended:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._hear)
            nursery.start_soon(self._read)
            nursery.start_soon(self._insist)
            nursery.start_soon(self._obey, control.terminating, self._child.ask)
            nursery.start_soon(self._obey, control.killing, self._child.kill)
            try:
                await self._until_nothing_is_left()
            finally:
                self._reading.cancel()
                self._insisting.cancel()
                if not self._child.none_left.is_set():
                    self._hearing.cancel()
            nursery.cancel_scope.cancel()
        return Ended(
            code=self._child.code,
            signal=self._child.signal,
            timed_out=self._timed_out,
            problem=self._child.problem,
            seconds=self._seconds or 0.0,
            dropped=self._lines.dropped,
            left_over=self._left_over,
        )

    async def _until_nothing_is_left(self) -> None:
        try:
            await self._child.started.wait()
            self._began = trio.current_time()
            await self._child.ended.wait()
            self._seconds = trio.current_time() - self._began
        finally:
            with trio.CancelScope(shield=True):
                gone = await self._clear_up()
        if not gone:
            await self._child.wait_for_the_last()

    async def _insist(self) -> None:
        with self._insisting:
            await self._child.insist(KILLED_WITHIN, self._stuck)

    async def _hear(self) -> None:
        with self._hearing:
            await self._child.listen()

    async def _read(self) -> None:
        with self._reading:
            async with trio.lowlevel.FdStream(self._child.output) as stream:
                while data := await stream.receive_some(_CHUNK):
                    self._lines.feed(data)
        self._lines.finish()
        self._read_all.set()

    async def _obey(self, asked: trio.Event, end: Callable[[], None]) -> None:
        await asked.wait()
        if self._seconds is None:
            self._timed_out = True
        end()

    async def _clear_up(self) -> bool:
        """End what descends from the command, and wait shortly for the output.

        Returns:
            Whether nothing is left.
        """
        # Either this run was cancelled, or a descendant outlives the command.
        gone = self._seconds is not None and await self._gone_within(GRACE)
        if not gone:
            self._left_over = True
            if not self._child.killing.is_set():
                self._child.ask()
            gone = await self._gone_within(self._kill_after)
        if not gone:
            self._child.kill()
            # First the keeper has this time, and then the agent.
            gone = await self._gone_within(2 * KILLED_WITHIN)
        # A process that could not be ended may hold the pipe without a limit.
        with trio.move_on_after(LAST_WORDS):
            await self._read_all.wait()
        return gone

    async def _gone_within(self, seconds: float) -> bool:
        with trio.move_on_after(seconds):
            await self._child.wait_for_the_last()
            return True
        return False
