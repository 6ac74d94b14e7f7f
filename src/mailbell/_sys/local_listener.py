"""Finds the process that listens on a Unix socket, by the path that it was bound to.

The kernel keeps that path even if the file is removed or replaced. Then no program can
connect any more, and the process that listens does not notice. The answer comes from
/proc, as proc(5) describes it, and every loop is bounded. /proc shows only the sockets of
this network namespace, so the answer "no process" can be wrong. It is used in messages only.
"""

import os
from collections.abc import Iterator
from itertools import islice
from typing import Final

from mailbell._sys.port_holder import Holder, find_process_with

__all__ = ["find_local_holder", "inodes", "listens"]

_MAX_ROWS: Final = 65_536

# Columns of /proc/net/unix: Num RefCount Protocol Flags Type St Inode Path.
_ACCEPTS: Final = 0x10000  # include/linux/net.h: __SO_ACCEPTCON
_STREAM: Final = b"0001"


def listens(path: str, *, proc: str = "/proc") -> bool:
    """Tell whether a socket listens that was bound to a path.

    Args:
        path: the path, as it was bound.
        proc: where proc(5) is mounted.

    Returns:
        Whether there is such a socket. The path may lead to another file by now.
    """
    return bool(inodes(path, proc=proc))


def inodes(path: str, *, proc: str = "/proc") -> frozenset[str]:
    """Find the listening sockets that were bound to a path.

    Args:
        path: the path, as it was bound.
        proc: where proc(5) is mounted.

    Returns:
        The inodes of the sockets, as /proc/PID/fd shows them.
    """
    return frozenset(_rows(os.fsencode(path), os.path.join(proc, "net", "unix")))


def find_local_holder(path: str, *, proc: str = "/proc") -> Holder | None:
    """Find a process that listens on a socket that was bound to a path.

    Args:
        path: the path, as it was bound.
        proc: where proc(5) is mounted.

    Returns:
        The process. None: no process listens there, or this process may not see which one.
    """
    found = inodes(path, proc=proc)
    return find_process_with(found, proc) if found else None


def _rows(path: bytes, table: str) -> Iterator[str]:
    try:
        with open(table, "rb") as rows:
            for row in islice(rows, 1, _MAX_ROWS):
                fields = row.rstrip(b"\n").split(maxsplit=7)
                if len(fields) == 8 and fields[7] == path and _is_listening(fields):
                    yield fields[6].decode("ascii", "replace")
    except OSError:
        return


def _is_listening(fields: list[bytes]) -> bool:
    try:
        return bool(int(fields[3], 16) & _ACCEPTS) and fields[4] == _STREAM
    except ValueError:
        return False
