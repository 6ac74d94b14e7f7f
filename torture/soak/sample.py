"""What the kernel and the programs themselves tell about each process."""

import re
import time
from collections import Counter
from pathlib import Path
from typing import Final

from mailbell.interfaces.listener import Status as ListenerStatus
from mailbell.sender_client import Status as SenderStatus

__all__ = [
    "COUNTED", "CPU", "Unreadable", "children", "cpu_seconds", "of_listener", "of_process",
    "of_sender", "shares",
]  # fmt: skip

CPU: Final = "cpu seconds"
COUNTED: Final = "notifications"
"""Two values that grow all the time. What drifts or not is their quotient."""
_KIB: Final = re.compile(r"^(Rss|Pss_Anon): +(\d+) kB$", re.MULTILINE)
_NAMES: Final = {"Rss": "RSS, KiB", "Pss_Anon": "anonymous memory, KiB"}
_CPUCLOCK_SCHED: Final = 2


class Unreadable(Exception):  # noqa: N818 (its name says what happened)
    """A process does not let itself be looked at, or has ended."""


def of_process(pid: int) -> dict[str, float]:
    """Return what the kernel tells: memory, descriptors, threads, children and CPU time.

    Args:
        pid: a process. An undumpable one is readable for root alone.

    Raises:
        Unreadable: it cannot be read.
    """
    place = Path(f"/proc/{pid}")
    try:
        memory = dict(_KIB.findall((place / "smaps_rollup").read_text()))
        return {
            **{name: float(memory[key]) for key, name in _NAMES.items()},
            "descriptors": float(sum(1 for _ in (place / "fd").iterdir())),
            "threads": float(sum(1 for _ in (place / "task").iterdir())),
            "child processes": float(children(pid)),
            CPU: cpu_seconds(pid),
        }
    except (OSError, KeyError) as error:
        raise Unreadable(f"process {pid} cannot be read: {error!r}") from error


def children(pid: int) -> int:
    """Return how many processes a process has started that it has not reaped.

    Args:
        pid: a process.
    """
    lists = Path(f"/proc/{pid}/task").glob("*/children")
    return sum(len(each.read_text().split()) for each in lists)


def cpu_seconds(pid: int) -> float:
    """Return the time that a process, all its threads, had a CPU: counted by the scheduler.

    Args:
        pid: a process.

    Source: clock_getcpuclockid(3), which Python does not have; linux/posix-timers.h.
    """
    return time.clock_gettime(~pid << 3 | _CPUCLOCK_SCHED)


def of_listener(status: ListenerStatus) -> dict[str, float]:
    """Return the sizes that mailbelld tells.

    Args:
        status: its status.
    """
    accepted = status.outcomes.tcp["accepted"] + status.outcomes.udp["accepted"]
    sources: Counter[str] = Counter()
    for table in status.tables:
        way = "/".join(table.name.split("/")[:2])
        sources[f"sources by {way}, all tables"] += table.entries
    return {
        **sources,
        "connections": status.connections,
        "subscribers": status.subscribers,
        "sources over their limit": len(status.limited),
        COUNTED: accepted,
        "wake-ups": status.wakeups,
    }


def of_sender(status: SenderStatus, store_bytes: int) -> dict[str, float]:
    """Return the sizes that mailbell-sender tells.

    Args:
        status: its status.
        store_bytes: of its database.
    """
    return {
        "accounts in the book": status.book.accounts,
        "addresses in the book": status.book.addresses,
        "targets known": status.targets_known,
        "targets that wait": status.pending,
        "targets that back off": status.backing_off,
        "connections of hooks": status.connections,
        "connections to targets": status.sending,
        "watchers": status.watchers,
        "companions": len(status.companions),
        "database, KiB": store_bytes / 1024,
        COUNTED: status.rings["sent"],
    }


def shares() -> tuple[float, float]:
    """Return CPU seconds of the whole machine so far: at work, and idle.

    Source: proc(5), /proc/stat.
    """
    fields = [int(each) for each in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    user, nice, system, idle, waiting, *others = fields
    return (user + nice + system + sum(others)) / 100, (idle + waiting) / 100
