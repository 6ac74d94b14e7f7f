"""A database whose process can be killed between any two writes, or within one of them.

`Disk` stands before SQLite and counts what is written. A kill closes the files without another
write. One within a write leaves a part of what SQLite has appended to its log.
"""

import os
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import Final

__all__ = ["Disk", "KilledError"]

_WRITES: Final = ("INSERT", "DELETE", "CREATE", "COMMIT", "PRAGMA wal_checkpoint")


class KilledError(BaseException):
    """The process ends here. No code of ours handles this error."""


class _Connection:
    """A connection of SQLite. All that the sender does with it goes through the disk."""

    def __init__(self, disk: "Disk", real: sqlite3.Connection) -> None:
        self._disk = disk
        self._real = real

    def execute(self, statement: str, values: Sequence[object] = ()) -> sqlite3.Cursor:
        return self._disk.run(statement, lambda: self._real.execute(statement, values))

    def executemany(self, statement: str, rows: Iterable[Sequence[object]]) -> sqlite3.Cursor:
        # Not a generator: what it yields must not depend on when it is read.
        return self._disk.run(statement, lambda: self._real.executemany(statement, list(rows)))

    def close(self) -> None:
        if not self._disk.is_dead:
            self._real.close()
            self._disk.real = None

    @property
    def in_transaction(self) -> bool:
        return self._real.in_transaction


class Disk:
    """The disk of one machine, through all runs of the sender.

    Args:
        path: the database.
        connect: opens it, as the sender does.

    Attributes:
        is_full: whether nothing can be written.
        is_dead: whether the process was killed.
        real: the open connection; None: there is none.
    """

    def __init__(self, path: str, connect: Callable[[str], sqlite3.Connection]) -> None:
        self.path = path
        self.is_full = False
        self.is_dead = False
        self.real: sqlite3.Connection | None = None
        self._connect = connect
        self._left: int | None = None
        self._part: float | None = None
        self._log_size: int | None = None

    def connect(self, path: str) -> _Connection:
        """Open the database. It stands for `mailbell.sender._database.connect`."""
        assert path == self.path
        self.real = self._connect(path)
        return _Connection(self, self.real)

    def kill_at(self, writes: int, part: float | None) -> None:
        """Kill the process at a later write.

        Args:
            writes: how many writes succeed before.
            part: how much of the last write gets to the disk, 0 to 1; None: the process is killed
                before it.
        """
        self._left, self._part = writes, part

    def spare(self) -> None:
        """Forget `kill_at`."""
        self._left = None

    def run(self, statement: str, act: Callable[[], sqlite3.Cursor]) -> sqlite3.Cursor:
        """Run a statement, unless the process is dead or the disk is full."""
        if self.is_dead:
            raise KilledError
        if not statement.startswith(_WRITES):
            return act()
        if self._left == 0 and self._part is None:
            self._die()
        if self.is_full and not statement.startswith("COMMIT"):
            raise sqlite3.OperationalError("database or disk is full")
        before = self._size_of_log()
        result = act()
        if self._left == 0 and self._part is not None:
            # SQLite has only appended, or has begun its log anew and not changed its size.
            self._log_size = before + int(self._part * max(self._size_of_log() - before, 0))
            self._die()
        if self._left is not None:
            self._left -= 1
        return result

    def _die(self) -> None:
        self.is_dead = True
        raise KilledError

    def _size_of_log(self) -> int:
        with suppress(FileNotFoundError):
            return os.stat(f"{self.path}-wal").st_size
        return 0

    def bury(self) -> None:
        """Close the files of the killed process, as the kernel does, so that another may begin.

        SQLite copies its log into the database when it closes it, unless the file has moved.
        """
        if self.real is not None:
            os.rename(self.path, f"{self.path}.away")
            self.real.close()
            os.rename(f"{self.path}.away", self.path)
        if self._log_size is not None and os.path.exists(f"{self.path}-wal"):
            os.truncate(f"{self.path}-wal", self._log_size)
        self.real = self._left = self._part = self._log_size = None
        self.is_dead = False
