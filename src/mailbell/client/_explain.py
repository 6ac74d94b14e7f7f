"""What went wrong, and what to do about it, in words."""

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

__all__ = ["explain_connect", "explain_reply", "explain_silence", "garbage", "gone"]

# EINVAL: the path is empty. None: Python refuses the path ("AF_UNIX path too long").
_UNUSABLE = {errno.EINVAL, None}
_REFUSED = {errno.EACCES, errno.EPERM, errno.EAGAIN}

# The service needs this unit, so it is restarted with it.
_SOCKET_UNIT = "mailbelld-local.socket"

_LONGEST = 80  # characters of one value in an error


def explain_connect(
    failures: Mapping[str, OSError], cut_off: Collection[str] = (), *, system: str = ""
) -> MailbellError:
    """Turn the failures of one attempt to connect into words.

    Args:
        failures: what the system reported for each path that was tried; at least one.
        cut_off: those paths at which a daemon listens although they do not lead to it.
        system: the path of the system's socket, whose daemon systemd may run.

    Returns:
        The error to raise. It names every path, and first the one that says most.
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
    if error.errno == errno.EAGAIN:
        return TemporaryError(f"the daemon at {path} is too busy to answer", "try again")
    remedy = "join the group that owns the socket, then log in again"
    return PrivilegeError(f"no permission to connect to {path}", remedy)


def _absent(failures: Mapping[str, OSError], system: str) -> UnavailableError:
    reasons = {p: _reason(error) for p, error in failures.items()}
    if len(set(reasons.values())) == 1:
        where = f"{' or '.join(reasons)} ({next(iter(reasons.values()))})"
    else:
        where = " or ".join(f"{path} ({reason})" for path, reason in reasons.items())
    remedy = "start it with `systemctl start mailbelld` or `mailbelld`"
    if system in failures:  # No place was named, and it may run at another one.
        remedy += ", or set MAILBELL_SOCKET to the path of its socket"
    return UnavailableError(f"no daemon at {where}", remedy)


def _reason(error: OSError) -> str:
    if error.errno == errno.ECONNREFUSED:  # Of a file that is no socket, too.
        return "nothing listens there"
    return error.strerror or "the connection broke"


def _unusable(path: str, error: OSError) -> UsageError:
    return UsageError(
        f"{path!r} cannot be the path of a socket: {error.strerror or error}",
        "write a path of at most 107 bytes, such as /run/mailbell/mailbell.sock",
    )


def explain_reply(error: ServiceError) -> MailbellError:
    """Turn the daemon's error reply into words.

    Args:
        error: as the daemon sent it; what it holds is shown escaped.

    Returns:
        The error to raise.
    """
    interface, _, name = error.name.rpartition(".")
    given = error.parameters
    if interface == LISTENER:
        if name == "UnknownAccount":
            what = f"the daemon has no account {_cut(given.get('account'))}"
            return UsageError(what, "`mailbell status` lists the accounts")
        if name == "TooManySubscribers":
            what = f"the daemon takes no more than {_cut(given.get('limit'))} subscribers"
            return TemporaryError(what, "raise `socket.subscribers`, or try again")
    if interface == SERVICE:
        if name == "InvalidParameter":
            return UsageError(f"the daemon refuses the parameter {_cut(given.get('parameter'))}")
        if name == "PermissionDenied":
            return PrivilegeError("the daemon does not permit this")
    return DataError(
        f"the daemon answered with the error {_cut(error.name)}",
        "is it mailbelld, and of the same version?",
    )


def _cut(value: object) -> str:
    """Quote what the daemon sent; a reply may be a megabyte, an error is one line."""
    quoted = repr(value)
    return quoted if len(quoted) <= _LONGEST else f"{quoted[:_LONGEST]}..."


def explain_silence(timeout: float) -> TemporaryError:
    """Make the error for an answer that did not come.

    Args:
        timeout: how long it was waited for, in seconds.

    Returns:
        The error to raise.
    """
    return TemporaryError(f"the daemon did not answer within {timeout:g} seconds", "try again")


def gone() -> UnavailableError:
    """Make the error for a connection that ended.

    Returns:
        The error to raise.
    """
    return UnavailableError("the daemon closed the connection", "see its log for the reason")


def garbage(error: ProtocolError) -> DataError:
    """Make the error for bytes that are no answer.

    Args:
        error: what was wrong with them.

    Returns:
        The error to raise.
    """
    return DataError(f"the daemon sent {error}", "is it mailbelld, and of the same version?")
