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

from mailbell._errors import (
    ConfigurationError,
    MailbellError,
    OperatingSystemError,
    PrivilegeError,
)

__all__ = ["bind_local"]

_MAX_PATH: Final = 107  # unix(7): sun_path has 108 bytes, the last one is NUL
_BACKLOG: Final = 128


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
    _require_usable(path)
    _require_safe_directory(os.path.dirname(path) or ".")
    try:
        _remove_stale(path)
    except OSError as error:
        raise _explain(error, path) from error
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
        raise _explain(error, path) from error
    return sock


def _require_usable(path: str) -> None:
    """Refuse what is no path, and what the kernel would read as something else."""
    encoded = os.fsencode(path)
    # An empty name, or one that starts with NUL, would be in the abstract
    # namespace, which has no permissions: anyone could connect.
    if not encoded or b"\0" in encoded or encoded.endswith(b"/"):
        raise ConfigurationError(
            f"the socket path {path!r} names no file", "write it as in /run/mailbell/mailbell.sock"
        )
    if len(encoded) > _MAX_PATH:
        raise ConfigurationError(
            f"the socket path {path} is {len(encoded)} bytes long",
            f"a Unix socket's path has at most {_MAX_PATH} bytes",
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


def _remove_stale(path: str) -> None:
    """Make room if the name is free or a dead socket's; refuse anything else."""
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(status.st_mode):
        kind = "a symbolic link" if stat.S_ISLNK(status.st_mode) else "no socket"
        raise ConfigurationError(
            f"{path} exists and is {kind}", "remove it yourself, or choose another socket path"
        )
    _require_dead(path)
    # Should the name be another's by now, it is a name in this directory that
    # goes, never what it leads to.
    with suppress(FileNotFoundError):
        os.unlink(path)


def _require_dead(path: str) -> None:
    """Refuse a socket on which somebody listens."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as probe:
        code = probe.connect_ex(path)
    if code == errno.EPROTOTYPE:
        raise ConfigurationError(
            f"another program receives datagrams at {path}", "choose another socket path"
        )
    if code in {0, errno.EAGAIN}:  # EAGAIN: alive, and its queue is full
        raise _already_running(path)
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


def _already_running(path: str) -> MailbellError:
    return OperatingSystemError(
        f"another mailbelld is running: it listens on {path}",
        "stop it first, or choose another path with --socket",
    )


def _explain(error: OSError, path: str) -> MailbellError:
    """Say why there can be no socket."""
    if error.errno == errno.EADDRINUSE:  # made since we looked
        return _already_running(path)
    if error.errno in {errno.EACCES, errno.EPERM}:
        return PrivilegeError(
            f"no permission to make the socket {path}: {error.strerror}",
            "see who owns its directory, and that the user is in the socket's group",
        )
    return OperatingSystemError(f"cannot make the socket {path}: {error.strerror or error}")
