"""Turns each failure of a client into an error with a message and a remedy."""

import errno
from collections.abc import Collection, Mapping

from mailbell.calling.daemon import Daemon
from mailbell.core.errors import (
    DataError,
    MailbellError,
    PrivilegeError,
    TemporaryError,
    UnavailableError,
    UsageError,
)
from mailbell.varlink import SERVICE, ProtocolError, ServiceError

__all__ = [
    "BusyError",
    "UntrustedError",
    "explain_connect",
    "explain_end",
    "explain_garbage",
    "explain_reply",
    "explain_silence",
    "quote",
]

# EINVAL: the path is empty. None: Python refuses the path, because it is too long.
_UNUSABLE = {errno.EINVAL, None}
_REFUSED = {errno.EACCES, errno.EPERM, errno.EAGAIN}

_LONGEST = 80  # characters of one value in an error


# The kernel shows this user instead of all users that a user namespace does not have.
_OVERFLOW = 65534


class BusyError(TemporaryError):
    """A daemon listens, and its queue of new connections is full for the moment."""


class UntrustedError(PermissionError):
    """A process of another user listens at the socket's path.

    Args:
        uid: the user.
        trusted: the name or the number of the user whose daemon would be trusted.
    """

    def __init__(self, uid: int, trusted: str) -> None:
        super().__init__(errno.EPERM, "another user listens there")
        self.uid = uid
        self.trusted = trusted


def explain_connect(
    failures: Mapping[str, OSError], daemon: Daemon, cut_off: Collection[str] = ()
) -> MailbellError:
    """Explain why one attempt to connect failed.

    Args:
        failures: the error for each path that was tried; at least one.
        daemon: the daemon that was called.
        cut_off: the paths of sockets that were removed while their daemon listens.

    Returns:
        The error to raise. It names every path; the most useful one comes first.
    """
    errors: list[MailbellError] = [_cut_off(path, daemon) for path in failures if path in cut_off]
    others = {path: error for path, error in failures.items() if path not in cut_off}
    refused = {path: error for path, error in others.items() if error.errno in _REFUSED}
    errors += [_refused(path, error, daemon) for path, error in refused.items()]
    unusable = {path: error for path, error in others.items() if error.errno in _UNUSABLE}
    absent = {p: error for p, error in others.items() if p not in refused and p not in unusable}
    if absent:
        errors.append(_absent(absent, daemon))
    errors += [_unusable(path, error, daemon) for path, error in unusable.items()]
    first = errors[0]
    return type(first)(", and ".join(error.what for error in errors), first.remedy)


def _cut_off(path: str, daemon: Daemon) -> UnavailableError:
    what = f"the {daemon.called} runs, but nothing reaches it: its socket {path} was removed or"
    what += " replaced"
    remedy = "end it and start it again"
    if path == daemon.system_path:
        remedy = f"`systemctl restart {daemon.socket_unit}`, or {remedy}"
    return UnavailableError(what, remedy)


def _refused(path: str, error: OSError, daemon: Daemon) -> MailbellError:
    if isinstance(error, UntrustedError):
        return _untrusted(path, error, daemon)
    if error.errno == errno.EAGAIN:
        what = f"the {daemon.called} at {path} is too busy to answer"
        return BusyError(what, _when_it_hangs(daemon))
    remedy = "join the group that owns the socket, then log in again"
    if path == daemon.system_path:  # Its group has the user's name, unless it is configured.
        command = f"usermod --append --groups {daemon.user} NAME"
        remedy = f"join the group {daemon.user} (root: `{command}`), then log in again"
    return PrivilegeError(f"no permission to connect to {path}", remedy)


def _untrusted(path: str, error: UntrustedError, daemon: Daemon) -> PrivilegeError:
    who = f"user {error.uid}"
    if error.uid == _OVERFLOW:
        who += ", which may be any user outside of this user namespace"
    what = f"the process that listens at {path} belongs to {who}; trusted are root, you and"
    what += f" {error.trusted}"
    remedy = f"if it is your {daemon.called}, set {daemon.user_variable}={error.uid}"
    return PrivilegeError(what, remedy)


def _absent(failures: Mapping[str, OSError], daemon: Daemon) -> UnavailableError:
    reasons = {p: _reason(error) for p, error in failures.items()}
    if len(set(reasons.values())) == 1:
        where = f"{' or '.join(reasons)} ({next(iter(reasons.values()))})"
    else:
        where = " or ".join(f"{path} ({reason})" for path, reason in reasons.items())
    remedy = f"start it with `systemctl start {daemon.name}` or `{daemon.name}`"
    if daemon.system_path in failures:  # The caller named no place. It may use another one.
        remedy += f", or set {daemon.socket_variable} to the path of its socket"
    return UnavailableError(f"no {daemon.called} at {where}", remedy)


def _reason(error: OSError) -> str:
    if error.errno == errno.ECONNREFUSED:  # Also the answer for a file that is no socket.
        return "nothing listens there"
    return error.strerror or "the connection broke"


def _unusable(path: str, error: OSError, daemon: Daemon) -> UsageError:
    return UsageError(
        f"{path!r} cannot be the path of a socket: {error.strerror or error}",
        f"write a path of at most 107 bytes, such as {daemon.system_path}",
    )


def explain_reply(
    error: ServiceError, daemon: Daemon, accepted: Collection[str] | None = None
) -> MailbellError:
    """Explain the daemon's error reply.

    Args:
        error: the error that the daemon sent. Its values are escaped in the message.
        daemon: the daemon that was called.
        accepted: the accounts of this call, if a daemon has accepted it before; None: none
            has. Of an accepted call only these accounts may have become wrong.

    Returns:
        The error to raise.
    """
    known = daemon.explain(error, accepted)
    if known is not None:
        return known
    interface, _, name = error.name.rpartition(".")
    given = error.parameters
    if interface == SERVICE:
        if name == "InvalidParameter" and accepted is None:
            parameter = quote(given.get("parameter"))
            return UsageError(f"the {daemon.called} refuses the parameter {parameter}")
        if name == "PermissionDenied":
            return PrivilegeError(f"the {daemon.called} does not permit this")
    what = f"the {daemon.called} answered with the error {quote(error.name)}"
    return DataError(what, _who_is_it(daemon))


def _who_is_it(daemon: Daemon) -> str:
    return f"check that it is {daemon.name}, and has the same version"


def quote(value: object) -> str:
    """Quote a value from a daemon. A reply may be a megabyte; a message is one line.

    Args:
        value: the value.

    Returns:
        At most 83 characters, escaped as in Python.
    """
    quoted = repr(value)
    return quoted if len(quoted) <= _LONGEST else f"{quoted[:_LONGEST]}..."


def explain_silence(timeout: float, daemon: Daemon) -> TemporaryError:
    """Explain that the daemon did not answer.

    Args:
        timeout: how long the client waited, in seconds.
        daemon: the daemon that was called.

    Returns:
        The error to raise.
    """
    what = f"the {daemon.called} did not answer within {timeout:g} seconds"
    return TemporaryError(what, _when_it_hangs(daemon))


def _when_it_hangs(daemon: Daemon) -> str:
    # `systemctl restart` also ends a process that is stopped (SIGSTOP).
    return (
        "try again; if it stays silent, it hangs: end it and start it again, as"
        f" `systemctl restart {daemon.name}` does"
    )


def explain_end(daemon: Daemon) -> UnavailableError:
    """Explain that the connection ended.

    Args:
        daemon: the daemon that was called.

    Returns:
        The error to raise.
    """
    return UnavailableError(
        f"the {daemon.called} closed the connection", "see its log for the reason"
    )


def explain_garbage(error: ProtocolError, daemon: Daemon) -> DataError:
    """Explain that the daemon sent bytes that are not a reply.

    Args:
        error: what is wrong with the bytes.
        daemon: the daemon that was called.

    Returns:
        The error to raise.
    """
    return DataError(f"the {daemon.called} sent {error}", _who_is_it(daemon))
