"""What deliveries cost a machine: time until they are done, and all CPU time in it."""

import os
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from statistics import median
from typing import Final

from mail_servers.machine import Machine

__all__ = ["Cost", "compared", "cpu"]

_TICKS: Final = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Cost:
    """What one delivery costs, in milliseconds: until it is done, and of all processors."""

    wall: float
    cpu: float


def cpu(machine: Machine) -> float:
    """Return what all processes of a machine have used so far, in seconds.

    A process that has ended counts where its parent waited for it (proc_pid_stat(5)).
    """
    ticks = 0
    for stat in machine.path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text(errors="replace").rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        ticks += sum(map(int, fields[11:15]))
    return ticks / _TICKS


def compared(
    machine: Machine,
    kinds: Mapping[str, Callable[[], AbstractContextManager[object]]],
    deliver: Callable[[], None],
    *,
    mails: int,
    blocks: int,
) -> dict[str, Cost]:
    """Measure kinds of delivery in one run: a block of one, a block of the next, and again.

    Args:
        machine: where it happens.
        kinds: for each kind, what makes it so during a block.
        deliver: delivers the mails of a block, and ends when all are done, with all that they
            have started.
        mails: how many it delivers.
        blocks: how many blocks of each kind.

    Returns:
        what one delivery cost in the median block of each kind.
    """
    costs: dict[str, list[Cost]] = {kind: [] for kind in kinds}
    for _ in range(blocks):
        for kind, made in kinds.items():
            with made():
                before, began = cpu(machine), time.monotonic()
                deliver()
                wall, used = time.monotonic() - began, cpu(machine) - before
            costs[kind].append(Cost(1000 * wall / mails, 1000 * used / mails))
    return {
        kind: Cost(median(each.wall for each in found), median(each.cpu for each in found))
        for kind, found in costs.items()
    }
