"""The kernel's table of processes, as proc_pid_stat(5) shows it."""

import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

__all__ = [
    "KEEPER",
    "Process",
    "children",
    "continue_keepers",
    "newest",
    "numbers",
    "processes",
    "read",
]

# The name of each keeper in ps(1); the kernel keeps 15 bytes.
KEEPER: Final = b"mailbell-keeper"

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


def children() -> list[int] | None:
    """Return the numbers of the children of this process, also of those that /proc hides.

    Mounted with `hidepid=`, /proc does not list the processes of other users, such as a
    child that has executed a set-user-ID program (proc(5)).

    Returns:
        The numbers, also of children that have ended and are not reaped; None if they
        cannot be read.
    """
    found: list[int] = []
    try:
        for task in os.listdir("/proc/self/task"):
            with open(f"/proc/self/task/{task}/children", "rb") as file:
                found += map(int, file.read().split())
    except (OSError, ValueError):
        return None
    return found


def continue_keepers() -> list[int]:
    """Continue each keeper of this user that is stopped: a command may have stopped it.

    A keeper without an agent ends its command, and then frees its locks, if it is not stopped.

    Returns:
        Their numbers.
    """
    found = []
    for process in processes():
        with suppress(OSError):
            is_keeper = _contents(f"/proc/{process.number}/comm") == KEEPER + b"\n"
            if is_keeper and process.lives and not process.runs:
                os.kill(process.number, signal.SIGCONT)
                found.append(process.number)
    return found


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
