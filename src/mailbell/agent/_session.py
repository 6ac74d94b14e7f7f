"""The session of a command: all that it has started, except what makes itself a daemon.

The agent ends the session of a command when the command has ended. If the agent is
killed outright (SIGKILL, no memory left), it cannot. So it notes each session while a
process of it may run, and the next agent looks whether that is still so.
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
        number: of the session, which is that of the process that has made it.
        began: clock ticks from the start of the machine to that of this process; 0: not known.
        boot: names this run of the machine; empty: not known.
    """

    number: int
    began: int
    boot: str

    @classmethod
    def of(cls, pid: int) -> Self:
        """Describe a session.

        Args:
            pid: of the process that has made it.

        Returns:
            The session; nothing of it is unknown, unless /proc cannot be read.
        """
        return cls(pid, _began(pid), _boot())

    @classmethod
    def read(cls, line: bytes) -> Self | None:
        """Read what `note` has written; None when it is something else."""
        found = _NOTE.fullmatch(line)
        return cls(int(found[1]), int(found[2]), found[3].decode()) if found else None

    def note(self) -> bytes:
        """Write it down in one line, without its end."""
        return f"{self.number} {self.began} {self.boot}".encode()

    def left(self) -> int | None:
        """Find a process of it that runs.

        Returns:
            The number of a process, of the one that has made the session if that runs.
            None when there is none, also where the number is by now another session's.
        """
        if self.boot != _boot() or self._is_another():
            return None
        pids = [pid for pid, _ in members(self.number)]
        return self.number if self.number in pids else next(iter(pids), None)

    def _is_another(self) -> bool:
        # The number can be given away only once no process of the session is there.
        began = _began(self.number)
        return bool(began and self.began and began != self.began)


class Running:
    """The sessions in which something may run now.

    Args:
        tell: called with all of them whenever there is one more or less.
    """

    def __init__(self, tell: Callable[[Collection[Session]], None] = lambda _: None) -> None:
        self._tell = tell
        self._sessions: dict[int, Session] = {}

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._sessions)

    @contextmanager
    def during(self, pid: int) -> Iterator[None]:
        """Count a session in during the block, and longer if a process cannot be ended.

        Args:
            pid: of the process that has made it.
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
    """Yield each process of a session that runs, and its group; one that has ended does not.

    Args:
        session: its number.
    """
    for pid in processes():
        with suppress(OSError):  # it has gone
            if os.getsid(pid) == session and _stat(pid)[0] not in {b"Z", b"X"}:
                yield pid, os.getpgid(pid)


def processes() -> list[int]:
    """Return the number of each process; none when there are no more descriptors to look with."""
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
    """Read a process's state and what follows it: proc_pid_stat(5), from the third on."""
    with open(f"/proc/{pid}/stat", "rb") as file:
        # The name, in parentheses, may hold anything.
        return file.read().rpartition(b") ")[2].split()


def _boot() -> str:
    try:
        with open(_BOOT, encoding="ascii") as file:
            return file.read(36)
    except (OSError, ValueError):
        return ""
