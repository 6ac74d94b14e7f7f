"""Who holds a port: for the message that says why it cannot be bound.

Reads /proc, as proc(5) and proc_net(5) describe it. The answer is for people:
it can be out of date when it is printed, and nothing is decided by it. Every
loop is bounded, since the size of /proc is what others on the machine make it.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Final

from mailbell.core.escape import printable
from mailbell.core.networks import Family
from mailbell.core.notification import Transport

__all__ = ["Holder", "command_of", "holder", "process_with"]

_MANAGER: Final = 1
_MAX_ROWS: Final = 65_536
_MAX_PROCESSES: Final = 32_768
_MAX_DESCRIPTORS: Final = 4_096  # of one process

# include/net/tcp_states.h: TCP_LISTEN; a bound UDP socket that is not connected
# is shown as TCP_CLOSE.
_WAITING: Final = {Transport.TCP: "0A", Transport.UDP: "07"}


@dataclass(frozen=True, slots=True)
class Holder:
    """A process that has a socket open.

    Attributes:
        pid: its number, as seen in this process's /proc.
        name: the name it gives itself (its `comm`), safe to print.
    """

    pid: int
    name: str


def holder(
    family: Family, port: int, transport: Transport, *, proc: str = "/proc"
) -> Holder | None:
    """Find a process that waits on a port, on any address.

    A port of IPv4 may be held by an IPv6 socket that serves both, so the other
    family is asked second.

    Args:
        family: of the address that could not be bound.
        port: 1 to 65535.
        transport: TCP: a listening socket; UDP: one that is not connected.
        proc: where proc(5) is mounted.

    Returns:
        The process; None when nobody holds the port or it cannot be seen who
        (without privilege only one's own processes show their sockets).
    """
    for candidate in sorted(Family, key=lambda other: other is not family):
        suffix = "6" if candidate is Family.IPV6 else ""
        table = os.path.join(proc, "net", transport.value + suffix)
        inodes = frozenset(_inodes(table, port, _WAITING[transport]))
        if inodes and (found := process_with(inodes, proc)) is not None:
            return found
    return None


def _inodes(table: str, port: int, state: str) -> Iterator[str]:
    """Yield the inodes of the sockets in a table of /proc/net that wait on the port."""
    try:
        with open(table, encoding="ascii", errors="replace") as rows:
            for row in islice(rows, 1, _MAX_ROWS):
                fields = row.split()
                # sl local remote st queues timer retransmits uid timeout inode
                if len(fields) > 9 and fields[3] == state and _port(fields[1]) == port:
                    yield fields[9]
    except OSError:
        return


def _port(local: str) -> int | None:
    """Read the port of `0100007F:004F`."""
    try:
        return int(local.rpartition(":")[2], 16)
    except ValueError:
        return None


def process_with(inodes: frozenset[str], proc: str) -> Holder | None:
    """Find the process that has one of these sockets open.

    A service manager keeps the sockets that it passes to a service. So process 1 is the
    answer only where no other process is.

    Args:
        inodes: of the sockets, as tables of /proc/net have them.
        proc: where proc(5) is mounted.

    Returns:
        The process; None when there is none, or it cannot be seen.
    """
    wanted = {f"socket:[{inode}]" for inode in inodes}
    manager = None
    for pid in islice(filter(str.isdecimal, _names(proc)), _MAX_PROCESSES):
        directory = os.path.join(proc, pid, "fd")
        descriptors = islice(_names(directory), _MAX_DESCRIPTORS)
        if any(_target(os.path.join(directory, name)) in wanted for name in descriptors):
            found = Holder(int(pid), command_of(int(pid), proc=proc))
            if found.pid != _MANAGER:
                return found
            manager = found
    return manager


def _names(directory: str) -> Iterator[str]:
    """Yield the names in a directory; none if it is gone or not ours to read."""
    try:
        with os.scandir(directory) as entries:
            for entry in entries:
                yield entry.name
    except OSError:
        return


def _target(link: str) -> str | None:
    try:
        return os.readlink(link)
    except OSError:  # closed meanwhile
        return None


def command_of(pid: int, *, proc: str = "/proc") -> str:
    """Read a process's name. It chose it itself, so it is no proof of anything.

    Args:
        pid: its number.
        proc: where proc(5) is mounted.

    Returns:
        The name, escaped: it shall not write to the terminal; "?" when there is none to see.
    """
    try:
        with open(os.path.join(proc, str(pid), "comm"), "rb") as file:
            name = file.read(64).removesuffix(b"\n").decode("latin-1")
    except OSError:
        return "?"
    return printable(name) or "?"
