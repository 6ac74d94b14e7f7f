"""The session of a command, as a note for later agents.

A command's keeper ends all that the command has started. It also does so when the agent
was killed, and holds the locks meanwhile. But the keeper can be killed too. So the agent
writes each session down while a process of it may run. The next agent looks whether one
still runs.
"""

import re
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, Self

from mailbell.agent._processes import processes, read

__all__ = ["Running", "Session"]

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
        return cls.known(pid, _began(pid))

    @classmethod
    def known(cls, pid: int, began: int) -> Self:
        """Describe a session of which the first process may have ended.

        Args:
            pid: the number of the process that has made it.
            began: when that process began; 0: not known.
        """
        return cls(pid, began, _boot())

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
        members = (each for each in processes() if each.session == self.number)
        pids = [each.number for each in members if each.lives]
        return self.number if self.number in pids else next(iter(pids), None)

    def _is_another(self) -> bool:
        # The kernel reuses the number only after the last process of the session has ended.
        began = _began(self.number)
        return bool(began and self.began and began != self.began)


class Running:
    """The sessions in which a process may run now.

    Args:
        tell: called with all sessions after each change.
        locks: the descriptors of the agent's locks, which each keeper holds too.
        holds: returns whether the agent still has its locks; if not, the agent ends.

    Attributes:
        locks: see above.
        holds: see above. It is called before each run.
    """

    def __init__(
        self,
        tell: Callable[[Collection[Session]], None] = lambda _: None,
        locks: Sequence[int] = (),
        holds: Callable[[], bool] = lambda: True,
    ) -> None:
        self._tell = tell
        self.locks = locks
        self.holds = holds
        self._sessions: dict[int, Session] = {}

    def __len__(self) -> int:
        """Return the number of sessions."""
        return len(self._sessions)

    @contextmanager
    def during(self, session: Session) -> Iterator[None]:
        """Include a session during the block, and longer if a process cannot be ended.

        Args:
            session: the session.
        """
        self._sessions[session.number] = session
        self._tell(self._sessions.values())
        try:
            yield
        finally:
            if session.left() is None:
                del self._sessions[session.number]
            self._tell(self._sessions.values())


def _began(pid: int) -> int:
    process = read(pid)
    return process.began if process else 0


def _boot() -> str:
    try:
        with open(_BOOT, encoding="ascii") as file:
            return file.read(36)
    except (OSError, ValueError):
        return ""
