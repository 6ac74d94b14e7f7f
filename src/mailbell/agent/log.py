"""Writes the events of the agent and the output of its commands to standard error.

Each event is one line of `key=value`, escaped, as in the daemon's log. The reader of the
log may be slow or may have ended. The agent goes on, and later logs how many lines were
lost.
"""

import os
import select
from collections.abc import Callable, Mapping
from typing import Final

from mailbell._sys.systemd import logs_to_journal
from mailbell.agent._lines import MAX_LINE
from mailbell.logs.journal import Journal, Level, format_value

__all__ = ["Log"]

# Seconds to wait for a slow reader. A reader that has stopped causes one such wait. The waits
# for one that reads slowly have a share of the time, and nothing else runs meanwhile.
_PATIENCE: Final = 0.2
_SHARE: Final = 0.1
_STANDARD_ERROR: Final = 2


class Log:
    """Writes the log of one agent.

    Events are rate-limited, separately for each job: so a failing job does not hide the
    events of another job. The output of a command is limited when it is read.

    Args:
        environ: the environment, which shows whether systemd reads the log.
        clock: returns the time of the monotonic clock, in seconds.
        descriptor: the descriptor to write to.
    """

    def __init__(
        self,
        environ: Mapping[str, str],
        clock: Callable[[], float],
        *,
        descriptor: int = _STANDARD_ERROR,
    ) -> None:
        self._clock = clock
        self._descriptor = descriptor
        self._prefixed = logs_to_journal(environ, descriptor)
        self._room = select.poll()
        self._room.register(descriptor, select.POLLOUT)
        self._journals: dict[object, Journal] = {}  # by job; the person has named the jobs
        self._lost = 0
        self._patience = _PATIENCE  # seconds
        self._waited_at = clock()

    def log(self, level: Level, event: str, **fields: object) -> None:
        """Write one line, unless there were too many lines of this event.

        Args:
            level: the severity.
            event: the name of the event, one word.
            fields: further fields, in this order; None values are left out.
        """
        job = fields.get("job")
        if job not in self._journals:
            self._journals[job] = Journal(self._write, self._clock, prefixed=self._prefixed)
        self._journals[job].log(level, event, **fields)

    def output(self, job: str, line: bytes) -> None:
        """Write one line of a command's output.

        Args:
            job: the name of the command's job.
            line: any bytes.
        """
        value = format_value(line, MAX_LINE)
        self._write(f"{self._prefix()}event=output job={format_value(job)} line={value}")

    def _prefix(self, level: Level = Level.INFO) -> str:
        return f"<{level.value}>" if self._prefixed else ""

    def _write(self, line: str) -> None:
        if self._lost and self._wrote(
            f"{self._prefix(Level.WARNING)}event=lost lines={self._lost}"
        ):
            self._lost = 0
        if self._lost or not self._wrote(line):
            self._lost += 1

    def _wrote(self, line: str) -> bool:
        # PIPE_BUF bytes go into a pipe in one piece. If poll(2) finds room for one byte,
        # there is room for all of them (pipe(7)). The same holds for the journal's socket.
        # A terminal that is not read can still make this wait.
        data = line.encode()[: select.PIPE_BUF - 1] + b"\n"
        try:
            if not self._has_room():
                return False
            os.write(self._descriptor, data)
        except OSError:  # the reader has ended, or there was none
            return False
        return True

    def _has_room(self) -> bool:
        """Wait for the reader, as long as the waits have not taken too much time."""
        if self._room.poll(0):
            return True
        now = self._clock()
        left = min(_PATIENCE, self._patience + _SHARE * (now - self._waited_at))
        self._waited_at = now
        if self._lost or left <= 0:
            self._patience = left
            return False
        has_room = bool(self._room.poll(1000 * left))
        self._patience = left - (self._clock() - now) if has_room else 0.0
        return has_room
