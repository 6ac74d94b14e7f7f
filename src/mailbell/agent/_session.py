"""The session of a command: all processes that it started, except those that became daemons.

The agent ends the session of a command when the command has ended. An agent that is killed
(SIGKILL, no memory left) cannot do this. So the agent writes each session down while a
process of it may run. The next agent looks whether one still runs.
"""

import os
import re
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Final, Self

__all__ = ["Running", "Session", "members", "processes"]

_NOTE: Final = re.compile(rb"([1-9][0-9]{0,9}) ([0-9]{1,20}) ([0-9a-f-]{0,36})", re.ASCII)
_BOOT: Final = "/proc/sys/kernel/random/boot_id"


@dataclass(frozen=True, slots=True)
class Session:
    """One session of this machine.

    Attributes:
        number: the number of the session and of the process that has made it.
        began: clock ticks from the start of the machine to the start of that process;
            0: not known.
        boot: the kernel's name for the time since the start of the machine; empty: not known.
    """

    number: int
    began: int
    boot: str

    @classmethod
    def of(cls, pid: int) -> Self:
        """Describe a session.

        Args:
            pid: the number of the process that has made it.

        Returns:
            The session. All of it is known, unless /proc cannot be read.
        """
        return cls(pid, _began(pid), _boot())

    @classmethod
    def read(cls, line: bytes) -> Self | None:
        """Read a line that `note` has written; None for any other line."""
        found = _NOTE.fullmatch(line)
        return cls(int(found[1]), int(found[2]), found[3].decode()) if found else None

    def note(self) -> bytes:
        """Return the session as one line, without the end of the line."""
        return f"{self.number} {self.began} {self.boot}".encode()

    def left(self) -> int | None:
        """Find a process of the session that still runs.

        Returns:
            The number of a process: that of the process which has made the session, if it
            runs. None if no process runs, also if another session now has the number.
        """
        if self.boot != _boot() or self._is_another():
            return None
        pids = [pid for pid, _ in members(self.number)]
        return self.number if self.number in pids else next(iter(pids), None)

    def _is_another(self) -> bool:
        # The kernel reuses the number only after the last process of the session has ended.
        began = _began(self.number)
        return bool(began and self.began and began != self.began)


class Running:
    """The sessions in which a process may run now.

    Args:
        tell: called with all sessions after each change.
    """

    def __init__(self, tell: Callable[[Collection[Session]], None] = lambda _: None) -> None:
        self._tell = tell
        self._sessions: dict[int, Session] = {}

    def __len__(self) -> int:
        """Return the number of sessions."""
        return len(self._sessions)

    @contextmanager
    def during(self, pid: int) -> Iterator[None]:
        """Include a session during the block, and longer if a process cannot be ended.

        Args:
            pid: the number of the process that has made it.
        """
        self._sessions[pid] = Session.of(pid)
        self._tell(self._sessions.values())
        try:
            yield
        finally:
            if self._sessions[pid].left() is None:
                del self._sessions[pid]
            self._tell(self._sessions.values())


def members(session: int) -> Iterator[tuple[int, int]]:
    """Yield each running process of a session, with the number of its group.

    Args:
        session: the number of the session.
    """
    for pid in processes():
        with suppress(OSError):  # the process has ended
            if os.getsid(pid) == session and _stat(pid)[0] not in {b"Z", b"X"}:
                yield pid, os.getpgid(pid)


def processes() -> list[int]:
    """Return the number of each process; empty if no descriptor is left to read /proc."""
    try:
        return [int(name) for name in os.listdir("/proc") if name.isdecimal()]
    except OSError:
        return []


def _began(pid: int) -> int:
    try:
        return int(_stat(pid)[19])
    except (OSError, ValueError, IndexError):
        return 0


def _stat(pid: int) -> list[bytes]:
    """Return the fields of proc_pid_stat(5) from the third, the state of the process, on."""
    with open(f"/proc/{pid}/stat", "rb") as file:
        # The name in parentheses may contain any bytes.
        return file.read().rpartition(b") ")[2].split()


def _boot() -> str:
    try:
        with open(_BOOT, encoding="ascii") as file:
            return file.read(36)
    except (OSError, ValueError):
        return ""
