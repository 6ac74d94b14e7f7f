"""What the agent says, and what its commands say, on standard error.

A line an event, `key=value`, escaped, as the daemon's. Whoever reads may be slow,
or may have gone: the agent goes on, and says later how many lines were lost.
"""

import os
import select
from collections.abc import Callable, Mapping
from typing import Final

from mailbell._sys.systemd import logs_to_journal
from mailbell.agent._lines import MAX_LINE
from mailbell.logs.journal import Journal, Level, format_value

__all__ = ["Log"]

# Milliseconds for a reader that is slow. One that has stopped costs that once.
_PATIENCE: Final = 200
_STANDARD_ERROR: Final = 2


class Log:
    """Writes the log of one agent.

    Events are rate-limited, those of each job by themselves, so that a job that
    goes wrong hides no other. What commands print is limited where it is read.

    Args:
        environ: the environment, which tells whether systemd reads.
        clock: returns the monotonic clock in seconds.
        descriptor: where to write.
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
        self._journals: dict[object, Journal] = {}  # by job; their names are the person's
        self._lost = 0

    def log(self, level: Level, event: str, **fields: object) -> None:
        """Write one line, unless there were too many of its kind.

        Args:
            level: how bad it is.
            event: the kind, one word of ours.
            fields: what else to say, in this order; None values are left out.
        """
        job = fields.get("job")
        if job not in self._journals:
            self._journals[job] = Journal(self._write, self._clock, prefixed=self._prefixed)
        self._journals[job].log(level, event, **fields)

    def output(self, job: str, line: bytes) -> None:
        """Write one line of what a command prints.

        Args:
            job: whose command.
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
        # So much goes into a pipe in one piece, and where poll(2) finds room for a byte
        # there is room for all of it: pipe(7). It is so with the journal's socket as
        # well. A terminal that nobody reads can still make us wait for it.
        data = line.encode()[: select.PIPE_BUF - 1] + b"\n"
        try:
            if not self._room.poll(0 if self._lost else _PATIENCE):
                return False
            os.write(self._descriptor, data)
        except OSError:  # the reader has gone, or never was
            return False
        return True
