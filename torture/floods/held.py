"""What the daemon holds: its memory in RAM, and its descriptors. The kernel tells."""

import os
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, NamedTuple

__all__ = ["Held", "Peak", "at_rest", "meanwhile"]

# Seconds for a daemon that nobody attacks any more to close what it has open. A connection without
# the line has five, and a local one whose answer stays unread has ten.
_PATIENCE: Final = 30.0
_STILL: Final = 10


class Held(NamedTuple):
    """What it holds at one moment.

    Attributes:
        kib: memory in RAM, exact (Rss of smaps_rollup).
        descriptors: how many are open.
    """

    kib: int
    descriptors: int

    @classmethod
    def by(cls, pid: int) -> "Held":
        """Ask the kernel. Source: proc(5); Documentation/filesystems/proc.rst."""
        return cls(_kib(pid, "smaps_rollup", "Rss"), _descriptors(pid))


def at_rest(pid: int, descriptors: int) -> Held:
    """Wait until a daemon has closed what it may close; return what it still holds.

    Args:
        pid: the daemon.
        descriptors: how many it had before anybody attacked. It is waited for these, but not for
            ever: a daemon that leaks never comes back to them.
    """
    last = time.monotonic() + _PATIENCE
    still = 0
    while still < _STILL and time.monotonic() < last:
        still = still + 1 if _descriptors(pid) <= descriptors else 0
        time.sleep(0.05)  # the daemon is another process: only a look tells what it has done
    return Held.by(pid)


class Peak:
    """The most that a daemon has held.

    Attributes:
        descriptors: the most that were seen open.
    """

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self.descriptors = 0

    @property
    def kib(self) -> int:
        """The most memory in RAM since its start: the kernel misses no moment (VmHWM)."""
        return _kib(self._pid, "status", "VmHWM")

    def look(self) -> None:
        """Look once. A process that has ended holds nothing."""
        with suppress(OSError):
            self.descriptors = max(self.descriptors, _descriptors(self._pid))


@contextmanager
def meanwhile(act: Callable[[], object], every: float) -> Iterator[None]:
    """Do something again and again, in a thread, until the end of the block.

    Args:
        act: what is done.
        every: seconds between two times.
    """
    stopped = threading.Event()

    def repeat() -> None:
        while not stopped.wait(every):
            act()

    thread = threading.Thread(target=repeat)
    thread.start()
    try:
        yield
    finally:
        stopped.set()
        thread.join()


def _descriptors(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


def _kib(pid: int, file: str, name: str) -> int:
    text = Path(f"/proc/{pid}/{file}").read_text()
    found = re.search(rf"^{name}:\s+(\d+) kB$", text, re.MULTILINE)
    if found is None:
        raise ProcessLookupError(f"process {pid} has ended")
    return int(found[1])
