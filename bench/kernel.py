"""What the kernel reports about a process: CPU time and memory."""

import os
import re
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from bench.processes import Failed

__all__ = ["Cpu", "Resident"]

_TICK: Final = 1_000_000_000 // os.sysconf("SC_CLK_TCK")
_LOOKS: Final = 1000


@dataclass(frozen=True, slots=True)
class Cpu:
    """The CPU time of processes, and of their children that have ended.

    Attributes:
        total: nanoseconds on a CPU. For a process itself it is exact (schedstat, counted by
            the scheduler). The time of its children is counted as exactly, but reported in
            ticks of 10 ms only.
        user: the part of it in user mode, an estimate: the kernel samples the mode each tick.
    """

    total: int
    user: float

    @classmethod
    def of(cls, *pids: int) -> Self:
        """Read the CPU time of processes with one thread.

        Source: proc(5), /proc/PID/stat; Documentation/scheduler/sched-stats.rst.
        """
        accounts = [_account(pid) for pid in pids]
        return cls(sum(total for total, _ in accounts), sum(user for _, user in accounts))

    @classmethod
    def settled(cls, *pids: int) -> Self:
        """Read the CPU time once the processes have finished their work.

        Raises:
            Failed: the processes do not come to rest.
        """
        now = cls.of(*pids)
        for _ in range(_LOOKS):
            before = now
            time.sleep(0.01)
            # The children are listed first: a child that ends in between is then counted. Its
            # time counts once it was waited for. A process that waits for a busy core uses as
            # little CPU time as an idle one, so the state is checked too.
            busy = any(map(_is_runnable, pids)) or _children(pids)
            now = cls.of(*pids)
            if not busy and now.total - before.total < 1_000_000:  # idling costs less in 10 ms
                return now
        raise Failed(f"processes {pids} do not come to rest")

    def __sub__(self, earlier: Self) -> Self:
        return type(self)(self.total - earlier.total, self.user - earlier.user)


def _is_runnable(pid: int) -> bool:
    return _fields(pid)[0] == "R"


def _fields(pid: int) -> list[str]:
    """Read the fields from the third on, the state. Source: proc(5), /proc/PID/stat."""
    # The name in the second field may contain blanks. No later field does.
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def _account(pid: int) -> tuple[int, float]:
    own = int(Path(f"/proc/{pid}/schedstat").read_text().split()[0])
    fields = _fields(pid)
    user, _, user_of_children, system_of_children = map(int, fields[11:15])
    children = (user_of_children + system_of_children) * _TICK
    return own + children, (user + user_of_children) * _TICK


def _children(pids: Iterable[int]) -> set[int]:
    """Find children, zombies included, that are not listed themselves."""
    found = {
        int(child)
        for pid in pids
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    }
    return found.difference(pids)


@dataclass(frozen=True, slots=True)
class Resident:
    """The memory of a process that is in RAM, shared libraries included.

    Attributes:
        now: MiB (VmRSS).
        peak: MiB, the most since it started (VmHWM).
    """

    now: float
    peak: float

    @classmethod
    def of(cls, pid: int) -> Self:
        """Read the memory. Source: proc(5), /proc/PID/status."""
        text = Path(f"/proc/{pid}/status").read_text()
        kib = dict(re.findall(r"^(VmRSS|VmHWM):\s+(\d+) kB$", text, re.MULTILINE))
        return cls(int(kib["VmRSS"]) / 1024, int(kib["VmHWM"]) / 1024)
