"""Looks who listens at a socket's path, before a client sends or reads a byte.

A local user who can put a socket at the path could answer in the daemon's place. The kernel
tells the user of the process that called listen(2), whatever process accepts, unix(7). That is
root if a service manager of the system made the socket, or if root started mailbelld. It is
the person if the person started it.
"""

import os
import pwd
import socket
from typing import Final

from mailbell._sys.sockets import peer_credentials
from mailbell.calling.daemon import Daemon
from mailbell.calling.explain import UntrustedError

__all__ = ["require_trusted"]

_ROOT: Final = 0


def require_trusted(sock: socket.socket, daemon: Daemon, daemon_user: str | None = None) -> None:
    """Refuse a peer that another user runs.

    Args:
        sock: a connected Unix socket.
        daemon: the daemon that is called.
        daemon_user: a user whose daemon is trusted, beside root's and that of this process's
            user: a name or a number. None: what the daemon's `user_variable` says, or else
            the daemon's `user`.

    Raises:
        UntrustedError: another user's process listens.
    """
    uid = peer_credentials(sock).uid
    if uid in {_ROOT, os.geteuid()}:
        return
    # Only now, because the list of users may be on another machine.
    wanted = daemon_user or os.environ.get(daemon.user_variable) or daemon.user
    if uid != _number_of(wanted):
        raise UntrustedError(uid, wanted)


def _number_of(user: str) -> int | None:
    if user.isascii() and user.isdecimal():
        return int(user)
    try:
        return pwd.getpwnam(user).pw_uid
    except KeyError:
        return None
