"""What waiting users cost the server: memory, processes and open connections."""

from collections.abc import Iterable
from pathlib import Path
from typing import Final

import msgspec
from harness.netns import Namespace

__all__ = ["Cost", "cost", "descendants"]

_ESTABLISHED: Final = "01"  # as /proc/net/tcp writes it (proc(5))


class Cost(msgspec.Struct, frozen=True):
    """What a set of processes takes.

    Attributes:
        mib: their memory in MiB; what several share is counted once (PSS).
        processes: how many there are.
        connections: TCP connections at the server's ports.
    """

    mib: float
    processes: int
    connections: int


def cost(
    pids: Iterable[int], host: Namespace, ports: Iterable[int], alone: Iterable[int] = ()
) -> Cost:
    """Count.

    Args:
        pids: the processes.
        host: their network.
        ports: the ports to which clients connect.
        alone: further processes, whose memory is RSS: what they share with others would be theirs
            alone on another machine.
    """
    found = [kib for pid in pids if (kib := _memory(pid, "Pss"))]
    found += [kib for pid in alone if (kib := _memory(pid, "Rss"))]
    return Cost(sum(found) / 1024, len(found), _connections(host, {f"{p:04X}" for p in ports}))


def _memory(pid: int, kind: str) -> int:
    """Return the memory of a process in KiB (proc(5)); 0: it has ended."""
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:
        return 0
    lines = text.splitlines()
    return next((int(line.split()[1]) for line in lines if line.startswith(f"{kind}:")), 0)


def _connections(host: Namespace, ports: set[str]) -> int:
    lines = Path(f"/proc/{host.pid}/net/tcp").read_text().splitlines()[1:]
    fields = (line.split()[1:4] for line in lines)
    return sum(
        state == _ESTABLISHED and local.partition(":")[2] in ports for local, _, state in fields
    )


def descendants(pid: int) -> list[int]:
    """Return a process and all that descend from it."""
    found = [pid]
    for each in found:
        for task in Path(f"/proc/{each}/task").iterdir():
            found += map(int, (task / "children").read_text().split())
    return found
