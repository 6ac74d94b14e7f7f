"""One run of one command, from its start to the end of its last process.

The caller decides how long a run may take (`Control`). This module ends the run, also when
the agent itself must end. In every case no process stays behind in the command's session,
and a command cannot stop the agent from going on.
"""

import signal
from collections.abc import Callable, Mapping, Sequence
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
# Between two looks at the session; the pause grows.
_FIRST_PAUSE: Final = 0.01
_LONGEST_PAUSE: Final = 0.25


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
        left_over: whether the agent ended processes that were left in the session.
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
) -> Ended:
    """Run a command until no process of it is left.

    To cancel this ends the command too, in at most `kill_after` and three seconds.

    Args:
        argv: the program and its arguments.
        environ: the whole environment of the command.
        output: called with each line that the command prints: any bytes, without the end
            of the line. At most `MAX_OUTPUT` bytes are passed. It must not raise.
        control: ends the run early.
        running: records the session of the command.
        kill_after: seconds from SIGTERM to SIGKILL when `control` does not decide: after
            a cancellation, and for processes that the command leaves behind.

    Returns:
        How the run ended. A command that cannot be started raises no exception.
    """
    await trio.lowlevel.checkpoint()  # if this is cancelled already, the command does not start
    try:
        child = start(argv, environ)
    except OperatingSystemError as error:
        return Ended(problem=str(error))
    with running.during(child.pid):
        return await _Run(child, output, kill_after).until_ended(control)


class _Run:
    def __init__(self, child: Child, output: Callable[[bytes], None], kill_after: float) -> None:
        self._child = child
        self._lines = Lines(output)
        self._kill_after = kill_after
        self._began = trio.current_time()
        self._seconds: float | None = None  # known when the command has ended
        self._timed_out = False
        self._left_over = False
        # The output is read to its end, also after a cancellation. Otherwise the command
        # could wait for a reader and not end.
        self._reading = trio.CancelScope(shield=True)
        self._read_all = trio.Event()

    async def until_ended(self, control: Control) -> Ended:
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._read)
                nursery.start_soon(self._obey, control.terminating, signal.SIGTERM)
                nursery.start_soon(self._obey, control.killing, signal.SIGKILL)
                try:
                    await self._command_ended()
                finally:
                    with trio.CancelScope(shield=True):
                        await self._clear_up()
                    self._reading.cancel()
                    nursery.cancel_scope.cancel()
        finally:
            code, killer = self._child.close()
        return Ended(
            code=code,
            signal=killer,
            timed_out=self._timed_out,
            seconds=self._seconds or 0.0,
            dropped=self._lines.dropped,
            left_over=self._left_over,
        )

    async def _read(self) -> None:
        with self._reading:
            async with trio.lowlevel.FdStream(self._child.output) as stream:
                while data := await stream.receive_some(_CHUNK):
                    self._lines.feed(data)
        self._lines.finish()
        self._read_all.set()

    async def _obey(self, asked: trio.Event, number: signal.Signals) -> None:
        await asked.wait()
        if self._seconds is None:
            self._timed_out = True
        self._child.signal(number)

    async def _command_ended(self) -> None:
        await trio.lowlevel.wait_readable(self._child.watch)
        self._seconds = trio.current_time() - self._began

    async def _clear_up(self) -> None:
        """End the processes that are left in the session, and wait shortly for the output."""
        # Either this run was cancelled, or a process of the session outlives the command.
        if self._seconds is None or not await self._gone_within(GRACE):
            self._left_over = True
            self._child.signal(signal.SIGTERM)
            if not await self._gone_within(self._kill_after):
                self._child.signal(signal.SIGKILL)
                await self._gone_within(KILLED_WITHIN)
        # A process that has left the session may hold the pipe without a limit.
        with trio.move_on_after(LAST_WORDS):
            await self._read_all.wait()

    async def _gone_within(self, seconds: float) -> bool:
        pause = _FIRST_PAUSE
        with trio.move_on_after(seconds):
            while self._child.lives():
                await trio.sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE)
            return True
        return False
