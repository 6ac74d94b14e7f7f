"""Makes the local socket: a name in the file system that local programs connect to.

When root starts the daemon, the directory of the socket may belong to the daemon's own,
less trusted user (systemd's RuntimeDirectory= does that). A process of that user may
replace names between any two steps here. So no step may follow a name to a file that is
not our socket. Names are checked with lstat. Rights are given through a descriptor: it was
opened without following links, and fstat says that it is a socket.
"""

import errno
import os
import socket
import stat
from collections.abc import Collection
from contextlib import suppress
from typing import Final

from mailbell._sys.sockets import peer_credentials, refuse_descriptors
from mailbell._sys.trusted_path import find_weaknesses
from mailbell.configuration.values import MAX_SOCKET_PATH
from mailbell.core.errors import (
    ConfigurationError,
    MailbellError,
    OperatingSystemError,
    PrivilegeError,
)

__all__ = [
    "BACKLOG",
    "AlreadyRunningError",
    "bind_local",
    "bind_local_datagrams",
    "examine_local",
    "require_safe_passed",
]

BACKLOG: Final = 128
"""How many connections may wait, if the caller does not say."""
_ACCESS_LIST: Final = "system.posix_acl_access"  # acl(5), xattr(7)
_NO_LIST: Final = {errno.ENODATA, errno.EOPNOTSUPP}
_GROUP_MAP: Final = "/proc/self/gid_map"  # user_namespaces(7)


class AlreadyRunningError(OperatingSystemError):
    """Another process listens at the socket's path.

    Args:
        path: the path of the socket.
        pid: the id of that process; 0 when it cannot be seen.
        program: the name of this program.
    """

    def __init__(self, path: str, pid: int = 0, program: str = "mailbelld") -> None:
        super().__init__(
            f"another {program} is running: it listens on {path}",
            "stop it first, or choose another path for the socket",
        )
        self.pid = pid


def bind_local(
    path: str,
    mode: int,
    gid: int | None,
    trusted: Collection[int] = (),
    *,
    backlog: int = BACKLOG,
    program: str = "mailbelld",
) -> socket.socket:
    """Listen on a Unix socket.

    A dead socket at that path is replaced: one that no process listens on. Any other
    file at that path is left alone. At no moment the socket permits more than `mode`.

    Args:
        path: the path of the socket, at most 107 bytes. Its directory must exist.
        mode: the permissions, for example 0o660.
        gid: the group of the socket; None: the process's own group.
        trusted: users who may own a folder on the way to the socket, beside root and this
            process's user.
        backlog: how many connections may wait until they are accepted. The kernel's
            net.core.somaxconn limits it further.
        program: the name of this program, for messages.

    Returns:
        A listening socket: non-blocking, close-on-exec.

    Raises:
        ConfigurationError: the path is unusable, or another kind of file is there.
        OperatingSystemError: another daemon listens there, or the system refuses.
        PrivilegeError: this process may not write there, or may not use that group.
    """
    # SOCK_CLOEXEC is Python's default (PEP 446).
    try:
        return _bind(socket.SOCK_STREAM, path, mode, gid, trusted, backlog)
    except AlreadyRunningError as error:
        raise AlreadyRunningError(path, error.pid, program) from error


def bind_local_datagrams(
    path: str,
    mode: int,
    gid: int | None,
    trusted: Collection[int] = (),
    *,
    program: str = "mailbelld",
) -> socket.socket:
    """Receive datagrams on a Unix socket.

    Args:
        path: as for `bind_local`.
        mode: as for `bind_local`. Write permission lets a user send.
        gid: as for `bind_local`.
        trusted: as for `bind_local`.
        program: as for `bind_local`.

    Returns:
        A bound socket: non-blocking, close-on-exec.

    Raises:
        ConfigurationError: as `bind_local`.
        OperatingSystemError: as `bind_local`.
        PrivilegeError: as `bind_local`.
    """
    try:
        return _bind(socket.SOCK_DGRAM, path, mode, gid, trusted, 0)
    except AlreadyRunningError as error:
        raise AlreadyRunningError(path, error.pid, program) from error


def _bind(
    kind: socket.SocketKind,
    path: str,
    mode: int,
    gid: int | None,
    trusted: Collection[int],
    backlog: int,
) -> socket.socket:
    if _find_dead(path, trusted, kind):
        _remove(path)
    sock = socket.socket(socket.AF_UNIX, kind | socket.SOCK_NONBLOCK)
    # A connection has this option as the socket has it at connect(2). So it comes first.
    refuse_descriptors(sock)
    try:
        _bind_closed(sock, path)
    except OSError as error:
        sock.close()
        raise _explain(error, path) from error
    try:
        # Before anything else: a socket that does not listen yet looks dead to another daemon.
        if kind == socket.SOCK_STREAM:
            sock.listen(backlog)
        _grant(path, mode, gid)
    except OSError as error:
        sock.close()
        with suppress(OSError):
            os.unlink(path)
        raise _explain(error, path, gid) from error
    return sock


def examine_local(path: str, gid: int | None, trusted: Collection[int] = ()) -> None:
    """Tell whether `bind_local` would succeed for this process, and change nothing.

    If a process listens there, this connects to it and closes the connection at once.

    Args:
        path: the path of the socket.
        gid: the group of the socket; None: the process's own group.
        trusted: as for `bind_local`.

    Raises:
        ConfigurationError: as `bind_local`.
        OperatingSystemError: as `bind_local`.
        PrivilegeError: as `bind_local`.
    """
    dead = _find_dead(path, trusted)
    directory = os.path.dirname(path) or "."
    try:
        _require_writable(directory)
        if dead:
            _require_removable(directory, path)
        if gid is not None and not _is_mapped(gid):
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
    except OSError as error:
        raise _explain(error, path, gid) from error


def require_safe_passed(path: str, mode: int, trusted: Collection[int] = ()) -> None:
    """Refuse a socket that a service manager made, if others could connect to it or replace it.

    Args:
        path: the path of the socket.
        mode: the permissions that it may have at most, for example 0o660.
        trusted: as for `bind_local`. They may also own the socket.

    Raises:
        ConfigurationError: others could connect, or another user could replace it.
        OperatingSystemError: the system does not tell.
        PrivilegeError: this process may not look at a folder on the way.
    """
    directory = os.path.dirname(path) or "."
    _require_safe_directory(directory, trusted)
    try:
        status = os.lstat(path)
        sticky = os.stat(directory).st_mode & stat.S_ISVTX
    except FileNotFoundError as error:
        raise ConfigurationError(
            f"the service manager's local socket is not at {path}",
            "restart its socket unit; if the service has a root folder of its own, write a path"
            " that is the same for both",
        ) from error
    except OSError as error:
        raise _explain(error, path) from error
    if sticky and status.st_uid not in {0, os.geteuid(), *trusted}:
        raise ConfigurationError(
            f"{path} belongs to user {status.st_uid}, who could replace it in that folder",
            "write ListenStream= with a path in another folder in its unit",
        )
    _require_mode(path, status, mode)


def _require_mode(path: str, status: os.stat_result, mode: int) -> None:
    found = stat.S_IMODE(status.st_mode)
    if not stat.S_ISSOCK(status.st_mode) or found & ~mode & 0o777:
        raise ConfigurationError(
            f"{path} has mode {found:04o}, but it may permit {mode:04o} at most",
            f"write SocketMode={mode:04o} and SocketGroup= in its unit",
        )
    try:
        has_list = _has_access_list(path)
    except OSError as error:
        raise OperatingSystemError(
            f"cannot tell whether {path} has an access control list: {error.strerror}",
            "let the service call lgetxattr (SystemCallFilter=)",
        ) from error
    if has_list:
        raise ConfigurationError(
            f"{path} has an access control list, which may let more users connect",
            f"setfacl --remove-default {os.path.dirname(path)}, and restart its socket unit",
        )


def _has_access_list(path: str) -> bool:
    """Tell whether a file permits more than its mode shows. A link is not followed."""
    try:
        os.getxattr(path, _ACCESS_LIST, follow_symlinks=False)
    except OSError as error:
        if error.errno in _NO_LIST:
            return False
        raise
    return True


def _find_dead(path: str, trusted: Collection[int], kind: int = socket.SOCK_STREAM) -> bool:
    """Refuse a path that cannot be used; return whether a dead socket is there."""
    _require_usable(path)
    _require_safe_directory(os.path.dirname(path) or ".", trusted)
    try:
        return _require_free_or_dead(path, kind)
    except OSError as error:
        raise _explain(error, path) from error


def _require_writable(directory: str) -> None:
    """Refuse a directory in which the kernel would refuse a new file (EROFS, EACCES)."""
    if os.statvfs(directory).f_flag & os.ST_RDONLY:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))
    if not os.access(directory, os.W_OK | os.X_OK, effective_ids=True):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))


def _require_removable(directory: str, path: str) -> None:
    """Refuse another user's file in a sticky directory: only its owner may remove it (unlink)."""
    status = os.stat(directory)
    owners = {0, status.st_uid, os.lstat(path).st_uid}
    if status.st_mode & stat.S_ISVTX and os.geteuid() not in owners:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))


def _is_mapped(gid: int) -> bool:
    """Tell whether a group exists in this process's user namespace (user_namespaces(7))."""
    try:
        with open(_GROUP_MAP, encoding="ascii") as file:
            ranges = [tuple(map(int, line.split())) for line in file]
    except (OSError, ValueError):  # unknown here; `bind_local` finds out when it tries
        return True
    return any(first <= gid < first + count for first, _, count in ranges)


def _require_usable(path: str) -> None:
    """Refuse a path that names no file, and one that the kernel would read in another way."""
    encoded = os.fsencode(path)
    # The kernel puts an empty name, or one that starts with NUL, into the abstract
    # namespace. That has no permissions: every local user could connect.
    if not encoded or b"\0" in encoded or encoded.endswith(b"/"):
        raise ConfigurationError(
            f"the socket path {path!r} names no file",
            "write a path such as /run/mailbell/mailbell.sock",
        )
    if len(encoded) > MAX_SOCKET_PATH:
        raise ConfigurationError(
            f"the socket path {path} is {len(encoded)} bytes long",
            f"a Unix socket's path has at most {MAX_SOCKET_PATH} bytes",
        )


def _require_safe_directory(directory: str, trusted: Collection[int]) -> None:
    """Refuse a directory if another user could replace the socket by another one."""
    try:
        status = os.stat(directory)
        weaknesses = find_weaknesses(directory, trusted, whole=True)
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
    if weaknesses:
        raise ConfigurationError(
            f"{weaknesses[0]}, who could replace the socket in {directory}",
            f"{weaknesses[0].remedy}, or choose another directory for the socket",
        )


def _require_free_or_dead(path: str, kind: int) -> bool:
    """Return whether the path is a dead socket; refuse any other file that is there."""
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        return False
    if not stat.S_ISSOCK(status.st_mode):
        found = "a symbolic link" if stat.S_ISLNK(status.st_mode) else "no socket"
        raise ConfigurationError(
            f"{path} exists and is {found}", "remove it yourself, or choose another socket path"
        )
    _require_dead(path, kind)
    return True


def _remove(path: str) -> None:
    # If the name leads to another file by now, unlink removes the name in this
    # directory and never the file that it leads to.
    try:
        os.unlink(path)
    except FileNotFoundError:
        return
    except OSError as error:
        raise _explain(error, path) from error


def _require_dead(path: str, kind: int) -> None:
    """Refuse a socket on which a process listens."""
    with socket.socket(socket.AF_UNIX, kind | socket.SOCK_NONBLOCK) as probe:
        refuse_descriptors(probe)  # who listens there could delay the close of the probe
        code = probe.connect_ex(path)
        # unix(7): for the side that connects, the credentials of the process that
        # called listen(2).
        pid = 0 if code else peer_credentials(probe).pid
    if code == errno.EPROTOTYPE:
        raise ConfigurationError(
            f"another program has a socket of another kind at {path}",
            "stop it first, or choose another socket path",
        )
    if code in {0, errno.EAGAIN}:  # EAGAIN: a process listens, and its queue is full
        raise AlreadyRunningError(path, pid)
    if code not in {errno.ECONNREFUSED, errno.ENOENT}:
        raise OSError(code, os.strerror(code))


def _bind_closed(sock: socket.socket, path: str) -> None:
    """Bind so that no user may connect yet. Call it with one thread: all share the umask."""
    before = os.umask(0o777)
    try:
        sock.bind(path)
    finally:
        os.umask(before)


def _grant(path: str, mode: int, gid: int | None) -> None:
    """Set group and mode of the socket at a path, and of no other file."""
    descriptor = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        status = os.fstat(descriptor)
        # A new socket has one name. A second name means that another process made it.
        if not stat.S_ISSOCK(status.st_mode) or status.st_nlink != 1:
            raise FileExistsError(errno.EEXIST, "another process replaced it")
        # fchmod and fchown refuse an O_PATH descriptor. Its name in /proc leads to
        # the same inode (proc_pid_fd(5)).
        same = f"/proc/self/fd/{descriptor}"
        _remove_access_list(same)
        # The group first: `mode` may permit more than the former group may have.
        if gid is not None:
            os.chown(same, -1, gid)
        os.chmod(same, mode)
    finally:
        os.close(descriptor)


def _remove_access_list(path: str) -> None:
    """Remove the list that a new file gets from its folder (a default ACL, acl(5)).

    It names users and groups. `chmod` sets its mask, and they may then connect.
    """
    try:
        os.removexattr(path, _ACCESS_LIST)
        os.getxattr(path, _ACCESS_LIST)
    except OSError as error:
        if error.errno in _NO_LIST:
            return
        raise
    raise PermissionError(errno.EPERM, "its access control list cannot be removed")


def _explain(error: OSError, path: str, gid: int | None = None) -> MailbellError:
    """Say why the socket cannot be made."""
    if error.errno == errno.EADDRINUSE:  # another daemon made it since the check
        return AlreadyRunningError(path)
    if error.errno == errno.EINVAL and gid is not None:  # chown(2): the id is not mapped
        return OperatingSystemError(
            f"cannot give the socket {path} to group {gid}: this user namespace has no such group",
            "map the group into the namespace, or name a mapped one in the configuration",
        )
    if error.errno in {errno.EACCES, errno.EPERM}:
        return PrivilegeError(
            f"no permission to make the socket {path}: {error.strerror}",
            "check who owns its directory, and whether the user is in the socket's group",
        )
    return OperatingSystemError(
        f"cannot make the socket {path}: {error.strerror or error}",
        "check the file system that it is on, or choose another path for the socket",
    )
