"""What went wrong, and what to do about it, in words."""

import errno

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

_LONGEST = 80  # characters of one value in an error


def explain_connect(error: OSError, path: str) -> MailbellError:
    """Turn the failure of a connection into words.

    Args:
        error: as the system reported it.
        path: of the socket.

    Returns:
        The error to raise.
    """
    if error.errno in {errno.EACCES, errno.EPERM}:
        remedy = "join the group that owns the socket, then log in again"
        return PrivilegeError(f"no permission to connect to {path}", remedy)
    if error.errno == errno.EAGAIN:
        return TemporaryError(f"the daemon at {path} is too busy to answer", "try again")
    if error.errno is None:  # the address itself: "AF_UNIX path too long"
        return UsageError(f"{path!r} cannot be the path of a socket: {error}")
    reason = error.strerror or "the connection broke"
    remedy = "start it with `systemctl start mailbelld` or `mailbelld`"
    return UnavailableError(f"no daemon at {path} ({reason})", remedy)


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
