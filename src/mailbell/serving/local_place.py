"""Opens the local socket of a daemon: binds it, or takes it from a service manager.

This happens before the lock, while the process still has all its privileges.
"""

import socket
from dataclasses import dataclass

from mailbell._sys.credentials import Identity, find_group_to_give
from mailbell._sys.local_socket import BACKLOG, bind_local, require_safe_passed
from mailbell.core.errors import ConfigurationError

__all__ = ["LocalPlace", "group_of", "open_local"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalPlace:
    """Where a local socket is to be, and who may connect to it.

    Attributes:
        path: the path of the socket.
        mode: its permission bits.
        group: the group that it is given to; empty: the daemon's own.
        backlog: how many connections may wait until they are accepted.
        program: the name of the daemon, for messages.
        key: the key of the configuration that names the group, for messages.
    """

    path: str
    mode: int
    group: str = ""
    backlog: int = BACKLOG
    program: str = "mailbelld"
    key: str = "socket.group"


def open_local(
    place: LocalPlace, given: socket.socket | None, identity: Identity | None
) -> tuple[socket.socket, str]:
    """Bind a local socket, or check the one that a service manager made.

    Args:
        place: where it is to be.
        given: the socket that the service manager passed; None: there is none.
        identity: the user that the daemon will become; None: it keeps its user.

    Returns:
        The listening socket, and the group that it could not be given to; "": there is none.

    Raises:
        MailbellError: the socket cannot be made, or others could connect to it or replace it.
    """
    trusted = set() if identity is None else {identity.uid}
    if given is not None:
        require_safe_passed(_path_of(given), place.mode, trusted)
        return given, ""
    mode, gid = group_of(place, identity)
    sock = bind_local(place.path, mode, gid, trusted, backlog=place.backlog, program=place.program)
    return sock, place.group if mode != place.mode else ""


def group_of(place: LocalPlace, identity: Identity | None) -> tuple[int, int | None]:
    """Tell with which mode and for which group a socket is bound.

    Args:
        place: where it is to be.
        identity: the user that the daemon will become; None: it keeps its user.

    Returns:
        The mode, and the number of the group; None: the process's own. If this user cannot
        give the socket to the group of `place`, the mode admits the user only: the socket then
        keeps the user's own group, which the operator did not name.

    Raises:
        ConfigurationError: there is no such group, and this process runs as root.
    """
    if not place.group:
        return place.mode, None if identity is None else identity.gid
    gid = find_group_to_give(place.group, place.key)
    return place.mode if gid is not None else place.mode & 0o700, gid


def _path_of(sock: socket.socket) -> str:
    """Return the path of a passed local socket. Without one, every user could connect."""
    path = sock.getsockname()
    if not isinstance(path, str) or not path:
        raise ConfigurationError(
            "the service manager's local socket has no path, so every user could connect",
            "write ListenStream= with a path in its unit",
        )
    return path
