"""The kernel's table of processes, as proc_pid_stat(5) shows it."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

__all__ = ["Process", "newest", "numbers", "processes", "read"]

_ENDED: Final = frozenset({b"Z", b"X"})
_STOPPED: Final = frozenset({b"T", b"t"})
_MOST: Final = 4096  # bytes; a line of the table has some hundred


@dataclass(frozen=True, slots=True)
class Process:
    """One process at the moment when its line was read.

    Attributes:
        number: its number. The kernel may give it to another process after it was reaped.
        parent: the number of its parent.
        session: the number of its session.
        began: clock ticks from the start of the machine to its start.
        lives: whether one of its threads has not ended.
        runs: whether its first thread has neither ended nor stopped.
    """

    number: int
    parent: int
    session: int
    began: int
    lives: bool
    runs: bool


def read(number: int) -> Process | None:
    """Read the line of one process.

    Args:
        number: its number.

    Returns:
        The process; None if there is none, or if it cannot be read.
    """
    try:
        line = _contents(f"/proc/{number}/stat")
        # The name in parentheses may contain any bytes.
        fields = line.rpartition(b") ")[2].split()
        state = fields[0]
        # The state is that of the first thread, which may end before the others.
        lives = state not in _ENDED or int(fields[17]) > 1
        return Process(
            number, int(fields[1]), int(fields[3]), int(fields[19]),
            lives, state not in _ENDED | _STOPPED,
        )  # fmt: skip
    except (OSError, ValueError, IndexError):  # it has ended
        return None


def newest() -> int:
    """Return the number that the kernel has given last (proc_loadavg(5)); 0: not known."""
    try:
        return int(_contents("/proc/loadavg").split()[-1])
    except (OSError, ValueError, IndexError):
        return 0


def numbers() -> list[int]:
    """Return the number of each process, the newest first.

    Returns:
        The numbers; none if no descriptor is left to read /proc.
    """
    try:
        found = map(int, filter(str.isdecimal, os.listdir("/proc")))
    except OSError:
        return []
    last = newest()
    # The kernel counts up to its limit, and then begins with small numbers again.
    return sorted(found, key=lambda number: (number > last, -number))


def processes() -> Iterator[Process]:
    """Yield each process of the table, the newest first."""
    for number in numbers():
        if process := read(number):
            yield process


def _contents(path: str) -> bytes:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(descriptor, _MOST)
    finally:
        os.close(descriptor)
