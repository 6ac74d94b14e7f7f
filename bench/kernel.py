"""What the kernel says of a process: the time and the memory it takes."""

import os
import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from bench.processes import Failed

__all__ = ["Cpu", "Resident"]

_TICK: Final = os.sysconf("SC_CLK_TCK")
_LOOKS: Final = 1000


@dataclass(frozen=True, slots=True)
class Cpu:
    """CPU time a process has used.

    Attributes:
        total: nanoseconds on a CPU, exact: schedstat, the scheduler's own account.
        user: of them in user mode, an estimate: the kernel samples the mode once a tick.
    """

    total: int
    user: float

    @classmethod
    def of(cls, pid: int) -> Self:
        """Read the account of a process of one thread.

        Source: proc(5), /proc/PID/stat; Documentation/scheduler/sched-stats.rst.
        """
        total = int(Path(f"/proc/{pid}/schedstat").read_text().split()[0])
        # The name in the second field may hold blanks; nothing after it does.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return cls(total, int(fields[11]) / _TICK * 1e9)

    @classmethod
    def settled(cls, pid: int) -> Self:
        """Read it once the process has finished what it was given to do.

        Raises:
            Failed: it does not come to rest.
        """
        now = cls.of(pid)
        for _ in range(_LOOKS):
            before = now
            time.sleep(0.01)
            now = cls.of(pid)
            if now.total - before.total < 1_000_000:  # idling costs less in 10 ms
                return now
        raise Failed(f"process {pid} does not come to rest")

    def __sub__(self, earlier: Self) -> Self:
        return type(self)(self.total - earlier.total, self.user - earlier.user)


@dataclass(frozen=True, slots=True)
class Resident:
    """Memory of a process that is in RAM, shared libraries included.

    Attributes:
        now: MiB (VmRSS).
        peak: MiB, the most since it started (VmHWM).
    """

    now: float
    peak: float

    @classmethod
    def of(cls, pid: int) -> Self:
        """Read it. Source: proc(5), /proc/PID/status."""
        text = Path(f"/proc/{pid}/status").read_text()
        kib = dict(re.findall(r"^(VmRSS|VmHWM):\s+(\d+) kB$", text, re.MULTILINE))
        return cls(int(kib["VmRSS"]) / 1024, int(kib["VmHWM"]) / 1024)
