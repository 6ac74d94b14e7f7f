"""Finds the process that holds a port, for the message that the port cannot be bound.

The answer comes from /proc, as proc(5) and proc_net(5) describe it. It is only shown to
people: it can be out of date when it is printed, and no code decides by it. Every loop
is bounded, because other users of the machine decide how large /proc is.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Final

from mailbell.core.escape import printable
from mailbell.core.networks import Family
from mailbell.core.notification import Transport

__all__ = ["Holder", "find_holder", "find_process_with", "read_process_name"]

_MANAGER: Final = 1
_MAX_ROWS: Final = 65_536
_MAX_PROCESSES: Final = 32_768
_MAX_DESCRIPTORS: Final = 4_096  # of one process

# include/net/tcp_states.h: TCP_LISTEN. The kernel shows a bound UDP socket that is not
# connected as TCP_CLOSE.
_WAITING: Final = {Transport.TCP: "0A", Transport.UDP: "07"}


@dataclass(frozen=True, slots=True)
class Holder:
    """A process that has a socket open.

    Attributes:
        pid: its id, as this process's /proc shows it.
        name: the name that it gives itself (its `comm`), safe to print.
    """

    pid: int
    name: str


def find_holder(
    family: Family, port: int, transport: Transport, *, proc: str = "/proc"
) -> Holder | None:
    """Find a process that waits on a port, on any address.

    An IPv6 socket that serves both families may hold a port of IPv4. So the other
    family is searched second.

    Args:
        family: the family of the address that could not be bound.
        port: 1 to 65535.
        transport: TCP: a listening socket; UDP: one that is not connected.
        proc: where proc(5) is mounted.

    Returns:
        The process. None: no process holds the port, or this process may not see which
        one (an ordinary user sees the sockets of their own processes only).
    """
    for candidate in sorted(Family, key=lambda other: other is not family):
        suffix = "6" if candidate is Family.IPV6 else ""
        table = os.path.join(proc, "net", transport.value + suffix)
        inodes = frozenset(_inodes(table, port, _WAITING[transport]))
        if inodes and (found := find_process_with(inodes, proc)) is not None:
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


def find_process_with(inodes: frozenset[str], proc: str) -> Holder | None:
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
            found = Holder(int(pid), read_process_name(int(pid), proc=proc))
            if found.pid != _MANAGER:
                return found
            manager = found
    return manager


def _names(directory: str) -> Iterator[str]:
    """Yield the names in a directory; none if it is gone or may not be read."""
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


def read_process_name(pid: int, *, proc: str = "/proc") -> str:
    """Read a process's name. The process chose the name itself, so the name proves nothing.

    Args:
        pid: the id of the process.
        proc: where proc(5) is mounted.

    Returns:
        The name, escaped so that it cannot control the terminal; "?" if there is none.
    """
    try:
        with open(os.path.join(proc, str(pid), "comm"), "rb") as file:
            name = file.read(64).removesuffix(b"\n").decode("latin-1")
    except OSError:
        return "?"
    return printable(name) or "?"
