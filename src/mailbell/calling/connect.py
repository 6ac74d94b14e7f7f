"""Finds the daemon. Tries every place, and explains why each of them failed."""

import errno
import socket
from collections.abc import Iterator, Sequence

from mailbell._sys.local_listener import listens
from mailbell._sys.sockets import refuse_descriptors
from mailbell.calling.daemon import Daemon
from mailbell.calling.explain import explain_connect
from mailbell.calling.trust import require_trusted

__all__ = ["connect", "pauses"]

# Seconds. The daemon takes some thousand connections a second, so there is room soon.
_SHORTEST_PAUSE = 0.001
_LONGEST_PAUSE = 0.05

# Errors which say that nothing listens at this path.
_NOTHING_LISTENS = {errno.ENOENT, errno.ENOTDIR, errno.ECONNREFUSED}


def connect(
    places: Sequence[str], daemon: Daemon, daemon_user: str | None = None
) -> tuple[socket.socket, str]:
    """Connect to the daemon at the first place where it listens.

    This does not wait: the kernel accepts or refuses the connection at once (unix(7)).

    Args:
        places: paths of sockets, in the order in which they are tried.
        daemon: the daemon that is called.
        daemon_user: a user whose daemon is trusted, as for `require_trusted`.

    Returns:
        A connected socket, which is non-blocking, and its path.

    Raises:
        UnavailableError: no daemon listens at any place.
        BusyError: a daemon listens, and its queue is full. There will be room: try again.
        PrivilegeError: this process may not connect to the daemon, or another user's process
            listens. Nothing was sent to that process, and nothing was read.
        UsageError: a place cannot be the path of a socket.
    """
    failures: dict[str, OSError] = {}
    for path in places:
        try:
            return _connect_to_trusted(path, daemon, daemon_user), path
        except OSError as error:
            failures[path] = error
            # A daemon listens here and is too busy. The caller does not mean a daemon at
            # a later place.
            if error.errno == errno.EAGAIN:
                break
    cut_off = {path for path, error in failures.items() if _is_cut_off(path, error)}
    raise explain_connect(failures, daemon, cut_off)


def pauses() -> Iterator[float]:
    """Return how long to wait before each new attempt at a daemon whose queue is full.

    A member of the socket's group can fill the queue again and again. Each of its connections
    leaves the queue before the next one has room, and so does this client's, if it tries often.

    Yields:
        Seconds: 1 ms, then twice as long each time, up to 50 ms.
    """
    pause = _SHORTEST_PAUSE
    while True:
        yield pause
        pause = min(2 * pause, _LONGEST_PAUSE)


def _connect_to_trusted(path: str, daemon: Daemon, daemon_user: str | None) -> socket.socket:
    sock = _connect_to(path)
    try:
        require_trusted(sock, daemon, daemon_user)
    except BaseException:
        sock.close()
        raise
    return sock


def _connect_to(path: str) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        # A blocking connect would wait for room in the daemon's queue, without a deadline.
        sock.setblocking(False)
        # Before the connection: what is sent on it could have descriptors at once.
        refuse_descriptors(sock)
        sock.connect(path)
    except BaseException:
        sock.close()
        raise
    return sock


def _is_cut_off(path: str, error: OSError) -> bool:
    """Return whether a daemon still listens, although its socket's file was removed."""
    if error.errno not in _NOTHING_LISTENS or not listens(path):
        return False
    try:
        _connect_to(path).close()
    except OSError as again:
        return again.errno in _NOTHING_LISTENS
    return False  # the daemon has started since the first attempt
