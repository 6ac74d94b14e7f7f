"""Turns each failure of the client into an error with a message and a remedy."""

import errno
from collections.abc import Collection, Mapping

from mailbell.core.errors import (
    DataError,
    MailbellError,
    PrivilegeError,
    TemporaryError,
    UnavailableError,
    UsageError,
)
from mailbell.interfaces.listener import LISTENER
from mailbell.varlink import SERVICE, ProtocolError, ServiceError

__all__ = [
    "BusyError",
    "UntrustedError",
    "explain_connect",
    "explain_end",
    "explain_garbage",
    "explain_reply",
    "explain_silence",
]

# EINVAL: the path is empty. None: Python refuses the path, because it is too long.
_UNUSABLE = {errno.EINVAL, None}
_REFUSED = {errno.EACCES, errno.EPERM, errno.EAGAIN}

# When this unit is restarted, systemd also restarts the service, which requires it.
_SOCKET_UNIT = "mailbelld-local.socket"

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
    failures: Mapping[str, OSError], cut_off: Collection[str] = (), *, system: str = ""
) -> MailbellError:
    """Explain why one attempt to connect failed.

    Args:
        failures: the error for each path that was tried; at least one.
        cut_off: the paths of sockets that were removed while their daemon listens.
        system: the path of the system's socket, whose daemon systemd may run.

    Returns:
        The error to raise. It names every path; the most useful one comes first.
    """
    errors: list[MailbellError] = [_cut_off(path, system) for path in failures if path in cut_off]
    others = {path: error for path, error in failures.items() if path not in cut_off}
    refused = {path: error for path, error in others.items() if error.errno in _REFUSED}
    errors += [_refused(path, error) for path, error in refused.items()]
    unusable = {path: error for path, error in others.items() if error.errno in _UNUSABLE}
    absent = {p: error for p, error in others.items() if p not in refused and p not in unusable}
    if absent:
        errors.append(_absent(absent, system))
    errors += [_unusable(path, error) for path, error in unusable.items()]
    first = errors[0]
    return type(first)(", and ".join(error.what for error in errors), first.remedy)


def _cut_off(path: str, system: str) -> UnavailableError:
    what = f"the daemon runs, but nothing reaches it: its socket {path} was removed or replaced"
    remedy = "end it and start it again"
    if path == system:
        remedy = f"`systemctl restart {_SOCKET_UNIT}`, or {remedy}"
    return UnavailableError(what, remedy)


def _refused(path: str, error: OSError) -> MailbellError:
    if isinstance(error, UntrustedError):
        return _untrusted(path, error)
    if error.errno == errno.EAGAIN:
        return BusyError(f"the daemon at {path} is too busy to answer", "try again")
    remedy = "join the group that owns the socket, then log in again"
    return PrivilegeError(f"no permission to connect to {path}", remedy)


def _untrusted(path: str, error: UntrustedError) -> PrivilegeError:
    who = f"user {error.uid}"
    if error.uid == _OVERFLOW:
        who += ", which may be any user outside of this user namespace"
    what = f"the process that listens at {path} belongs to {who}; trusted are root, you and"
    what += f" {error.trusted}"
    return PrivilegeError(what, f"if it is your daemon, set MAILBELL_DAEMON_USER={error.uid}")


def _absent(failures: Mapping[str, OSError], system: str) -> UnavailableError:
    reasons = {p: _reason(error) for p, error in failures.items()}
    if len(set(reasons.values())) == 1:
        where = f"{' or '.join(reasons)} ({next(iter(reasons.values()))})"
    else:
        where = " or ".join(f"{path} ({reason})" for path, reason in reasons.items())
    remedy = "start it with `systemctl start mailbelld` or `mailbelld`"
    if system in failures:  # The caller named no place. The daemon may use another one.
        remedy += ", or set MAILBELL_SOCKET to the path of its socket"
    return UnavailableError(f"no daemon at {where}", remedy)


def _reason(error: OSError) -> str:
    if error.errno == errno.ECONNREFUSED:  # Also the answer for a file that is no socket.
        return "nothing listens there"
    return error.strerror or "the connection broke"


def _unusable(path: str, error: OSError) -> UsageError:
    return UsageError(
        f"{path!r} cannot be the path of a socket: {error.strerror or error}",
        "write a path of at most 107 bytes, such as /run/mailbell/mailbell.sock",
    )


def explain_reply(error: ServiceError, accepted: Collection[str] | None = None) -> MailbellError:
    """Explain the daemon's error reply.

    Args:
        error: the error that the daemon sent. Its values are escaped in the message.
        accepted: the accounts of this call, if a daemon has accepted it before; None: none
            has. Of an accepted call only these accounts may have become wrong.

    Returns:
        The error to raise.
    """
    interface, _, name = error.name.rpartition(".")
    given = error.parameters
    if interface == LISTENER:
        if name == "UnknownAccount" and (accepted is None or given.get("account") in accepted):
            what = f"the daemon has no account {_quote(given.get('account'))}"
            return UsageError(what, "`mailbell status` lists the accounts")
        if name == "TooManySubscribers":
            what = f"the daemon accepts no more than {_quote(given.get('limit'))} subscribers"
            return TemporaryError(what, "raise `socket.subscribers`, or try again")
        if name == "TooFast":
            what = "the daemon refuses more calls of this user for now"
            return TemporaryError(what, "try again later, and call less often")
    if interface == SERVICE:
        if name == "InvalidParameter" and accepted is None:
            return UsageError(f"the daemon refuses the parameter {_quote(given.get('parameter'))}")
        if name == "PermissionDenied":
            return PrivilegeError("the daemon does not permit this")
    return DataError(
        f"the daemon answered with the error {_quote(error.name)}",
        "check that it is mailbelld, and has the same version",
    )


def _quote(value: object) -> str:
    """Quote a value from the daemon. A reply may be a megabyte; a message is one line."""
    quoted = repr(value)
    return quoted if len(quoted) <= _LONGEST else f"{quoted[:_LONGEST]}..."


def explain_silence(timeout: float) -> TemporaryError:
    """Explain that the daemon did not answer.

    Args:
        timeout: how long the client waited, in seconds.

    Returns:
        The error to raise.
    """
    return TemporaryError(f"the daemon did not answer within {timeout:g} seconds", "try again")


def explain_end() -> UnavailableError:
    """Explain that the connection ended.

    Returns:
        The error to raise.
    """
    return UnavailableError("the daemon closed the connection", "see its log for the reason")


def explain_garbage(error: ProtocolError) -> DataError:
    """Explain that the daemon sent bytes that are not a reply.

    Args:
        error: what is wrong with the bytes.

    Returns:
        The error to raise.
    """
    remedy = "check that it is mailbelld, and has the same version"
    return DataError(f"the daemon sent {error}", remedy)
