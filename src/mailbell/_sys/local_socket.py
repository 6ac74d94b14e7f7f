"""Makes the local socket: a name in the file system that others can reach.

Started as root, this runs in a directory that may belong to the daemon's own,
less trusted user (systemd's RuntimeDirectory= does that). So whoever is that
user may swap names between any two of these steps, and no step may follow a
name to something that is not our socket: names are looked at with lstat,
rights are given through a descriptor that was opened without following links
and was seen to be a socket.
"""

import errno
import os
import socket
import stat
from contextlib import suppress
from typing import Final

from mailbell._sys.sockets import peer_credentials
from mailbell.configuration.values import MAX_SOCKET_PATH
from mailbell.core.errors import (
    ConfigurationError,
    MailbellError,
    OperatingSystemError,
    PrivilegeError,
)

__all__ = ["AlreadyRunningError", "bind_local", "examine_local"]

_BACKLOG: Final = 128
_GROUP_MAP: Final = "/proc/self/gid_map"  # user_namespaces(7)


class AlreadyRunningError(OperatingSystemError):
    """Somebody listens at the socket's path.

    Args:
        path: of the socket.
        pid: who; 0 when it cannot be seen.
    """

    def __init__(self, path: str, pid: int = 0) -> None:
        super().__init__(
            f"another mailbelld is running: it listens on {path}",
            "stop it first, or choose another path with --socket",
        )
        self.pid = pid


def bind_local(path: str, mode: int, gid: int | None) -> socket.socket:
    """Listen on a Unix socket.

    A socket nobody listens on any more is replaced; anything else that has the
    name is left alone. The socket is never more open than `mode`, not even for
    a moment.

    Args:
        path: of the socket, at most 107 bytes; its directory must exist.
        mode: permissions, as in 0o660.
        gid: group to give it to; None leaves it with the process's own.

    Returns:
        A listening socket: non-blocking, close-on-exec.

    Raises:
        ConfigurationError: the path is unusable, or something else is there.
        OperatingSystemError: another daemon listens there, or the system refuses.
        PrivilegeError: this process may not write there, or not give it that group.
    """
    if _find_dead(path):
        _remove(path)
    # SOCK_CLOEXEC is Python's default (PEP 446).
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        _bind_closed(sock, path)
    except OSError as error:
        sock.close()
        raise _explain(error, path) from error
    try:
        # At once: bound but not listening it looks stale to another daemon.
        sock.listen(_BACKLOG)
        _grant(path, mode, gid)
    except OSError as error:
        sock.close()
        with suppress(OSError):
            os.unlink(path)
        raise _explain(error, path, gid) from error
    return sock


def examine_local(path: str, gid: int | None) -> None:
    """Tell whether `bind_local` would succeed for this process; change nothing.

    Somebody who listens there is connected to, and left at once.

    Args:
        path: of the socket.
        gid: group it is to be given to; None: none.

    Raises:
        ConfigurationError: as `bind_local`.
        OperatingSystemError: as `bind_local`.
        PrivilegeError: as `bind_local`.
    """
    dead = _find_dead(path)
    directory = os.path.dirname(path) or "."
    try:
        _require_writable(directory)
        if dead:
            _require_removable(directory, path)
        if gid is not None and not _is_mapped(gid):
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
    except OSError as error:
        raise _explain(error, path, gid) from error


def _find_dead(path: str) -> bool:
    """Refuse a place that is not for us; return whether a dead socket is in the way."""
    _require_usable(path)
    _require_safe_directory(os.path.dirname(path) or ".")
    try:
        return _require_free_or_dead(path)
    except OSError as error:
        raise _explain(error, path) from error


def _require_writable(directory: str) -> None:
    """Refuse what the kernel would refuse with EROFS or EACCES once we write there."""
    if os.statvfs(directory).f_flag & os.ST_RDONLY:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))
    if not os.access(directory, os.W_OK | os.X_OK, effective_ids=True):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))


def _require_removable(directory: str, path: str) -> None:
    """Refuse somebody else's file in a directory that keeps each to its owner (unlink(2))."""
    status = os.stat(directory)
    owners = {0, status.st_uid, os.lstat(path).st_uid}
    if status.st_mode & stat.S_ISVTX and os.geteuid() not in owners:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))


def _is_mapped(gid: int) -> bool:
    """Tell whether a group exists in this process's user namespace (user_namespaces(7))."""
    try:
        with open(_GROUP_MAP, encoding="ascii") as file:
            ranges = [tuple(map(int, line.split())) for line in file]
    except (OSError, ValueError):  # nobody can tell: the attempt will
        return True
    return any(first <= gid < first + count for first, _, count in ranges)


def _require_usable(path: str) -> None:
    """Refuse what is no path, and what the kernel would read as something else."""
    encoded = os.fsencode(path)
    # An empty name, or one that starts with NUL, would be in the abstract
    # namespace, which has no permissions: anyone could connect.
    if not encoded or b"\0" in encoded or encoded.endswith(b"/"):
        raise ConfigurationError(
            f"the socket path {path!r} names no file", "write it as in /run/mailbell/mailbell.sock"
        )
    if len(encoded) > MAX_SOCKET_PATH:
        raise ConfigurationError(
            f"the socket path {path} is {len(encoded)} bytes long",
            f"a Unix socket's path has at most {MAX_SOCKET_PATH} bytes",
        )


def _require_safe_directory(directory: str) -> None:
    """Refuse a directory in which anyone could replace the socket by their own."""
    try:
        status = os.stat(directory)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise ConfigurationError(
            f"the socket directory {directory} does not exist",
            f"create it (mkdir -m 0755 {directory}), or let systemd-tmpfiles or"
            " RuntimeDirectory= do so",
        ) from error
    except OSError as error:
        raise _explain(error, directory) from error
    if not stat.S_ISDIR(status.st_mode):
        raise ConfigurationError(f"{directory} is no directory", "choose another socket path")
    if status.st_mode & stat.S_IWOTH and not status.st_mode & stat.S_ISVTX:
        raise ConfigurationError(
            f"anyone may write to {directory} and replace the socket",
            f"chmod o-w {directory}, or choose another directory",
        )


def _require_free_or_dead(path: str) -> bool:
    """Return whether the name is a dead socket's; refuse anything else that has it."""
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        return False
    if not stat.S_ISSOCK(status.st_mode):
        kind = "a symbolic link" if stat.S_ISLNK(status.st_mode) else "no socket"
        raise ConfigurationError(
            f"{path} exists and is {kind}", "remove it yourself, or choose another socket path"
        )
    _require_dead(path)
    return True


def _remove(path: str) -> None:
    # Should the name be another's by now, it is a name in this directory that
    # goes, never what it leads to.
    try:
        os.unlink(path)
    except FileNotFoundError:
        return
    except OSError as error:
        raise _explain(error, path) from error


def _require_dead(path: str) -> None:
    """Refuse a socket on which somebody listens."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as probe:
        code = probe.connect_ex(path)
        # unix(7): of a peer that was connected to, who called listen(2).
        pid = 0 if code else peer_credentials(probe).pid
    if code == errno.EPROTOTYPE:
        raise ConfigurationError(
            f"another program receives datagrams at {path}", "choose another socket path"
        )
    if code in {0, errno.EAGAIN}:  # EAGAIN: alive, and its queue is full
        raise AlreadyRunningError(path, pid)
    if code not in {errno.ECONNREFUSED, errno.ENOENT}:
        raise OSError(code, os.strerror(code))


def _bind_closed(sock: socket.socket, path: str) -> None:
    """Bind so that nobody may connect yet. One thread only: a umask is the process's."""
    before = os.umask(0o777)
    try:
        sock.bind(path)
    finally:
        os.umask(before)


def _grant(path: str, mode: int, gid: int | None) -> None:
    """Set group and mode of the socket at a path, and of nothing else."""
    descriptor = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        status = os.fstat(descriptor)
        # A new socket has one name; a second one would mean that this is another's.
        if not stat.S_ISSOCK(status.st_mode) or status.st_nlink != 1:
            raise FileExistsError(errno.EEXIST, "somebody replaced it")
        # fchmod and fchown refuse an O_PATH descriptor; its name in /proc leads to
        # the very inode (proc_pid_fd(5)).
        same = f"/proc/self/fd/{descriptor}"
        # The group first: `mode` may be more than the former group should have.
        if gid is not None:
            os.chown(same, -1, gid)
        os.chmod(same, mode)
    finally:
        os.close(descriptor)


def _explain(error: OSError, path: str, gid: int | None = None) -> MailbellError:
    """Say why there can be no socket."""
    if error.errno == errno.EADDRINUSE:  # made since we looked
        return AlreadyRunningError(path)
    if error.errno == errno.EINVAL and gid is not None:  # chown(2): the id is not mapped
        return OperatingSystemError(
            f"cannot give the socket {path} to group {gid}: this user namespace has no such group",
            "map the group into the namespace, or name one that is, as socket.group",
        )
    if error.errno in {errno.EACCES, errno.EPERM}:
        return PrivilegeError(
            f"no permission to make the socket {path}: {error.strerror}",
            "see who owns its directory, and that the user is in the socket's group",
        )
    return OperatingSystemError(
        f"cannot make the socket {path}: {error.strerror or error}",
        "see to the file system it is on, or choose another path with --socket",
    )
