"""Finds the daemon: tries every place, and says what is wrong with all of them."""

import errno
import socket
from collections.abc import Sequence

from mailbell._sys.local_listener import listens
from mailbell.client._explain import explain_connect
from mailbell.client._path import SYSTEM_PATH

__all__ = ["connect"]

# Nothing listens at this path.
_NOBODY = {errno.ENOENT, errno.ENOTDIR, errno.ECONNREFUSED}


def connect(places: Sequence[str]) -> tuple[socket.socket, str]:
    """Connect to the daemon at the first place where it is.

    This does not wait: unix(7) has a connection made at once, or refused.

    Args:
        places: paths of sockets, in the order in which they are tried.

    Returns:
        A connected socket, non-blocking; and its path.

    Raises:
        UnavailableError: there is no daemon at any place.
        TemporaryError: there is one, and its queue is full.
        PrivilegeError: this process may not connect to it.
        UsageError: the place cannot be a socket's.
    """
    failures: dict[str, OSError] = {}
    for path in places:
        try:
            return _connect_to(path), path
        except OSError as error:
            failures[path] = error
            # A daemon is here, and too busy. One at a later place is not meant.
            if error.errno == errno.EAGAIN:
                break
    cut_off = {path for path, error in failures.items() if _is_cut_off(path, error)}
    raise explain_connect(failures, cut_off, system=SYSTEM_PATH)


def _connect_to(path: str) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        # A blocking connect would wait for room in the daemon's queue, without a deadline.
        sock.setblocking(False)
        sock.connect(path)
    except BaseException:
        sock.close()
        raise
    return sock


def _is_cut_off(path: str, error: OSError) -> bool:
    """Tell whether a daemon listens whose socket's file is gone, so that nothing reaches it."""
    if error.errno not in _NOBODY or not listens(path):
        return False
    try:
        _connect_to(path).close()
    except OSError as again:
        return again.errno in _NOBODY
    return False  # it has only just started
