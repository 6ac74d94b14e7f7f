"""What went wrong, and what to do about it, in words."""

import errno

from mailbell._errors import (
    DataError,
    MailbellError,
    PrivilegeError,
    TemporaryError,
    UnavailableError,
    UsageError,
)
from mailbell.varlink import ProtocolError, ServiceError

__all__ = ["explain_connect", "explain_reply", "explain_silence", "garbage", "gone"]

_LISTENER = "org.mailbell.Listener"
_SERVICE = "org.varlink.service"


def explain_connect(error: OSError, path: str) -> MailbellError:
    """Turns the failure of a connection into words.

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
    """Turns the daemon's error reply into words.

    Args:
        error: as the daemon sent it; what it holds is shown escaped.

    Returns:
        The error to raise.
    """
    interface, _, name = error.name.rpartition(".")
    given = error.parameters
    if interface == _LISTENER:
        if name == "UnknownAccount":
            what = f"the daemon has no account {given.get('account')!r}"
            return UsageError(what, "`mailbell status` lists the accounts")
        if name == "TooManySubscribers":
            what = f"the daemon takes no more than {given.get('limit')!r} subscribers"
            return TemporaryError(what, "raise `socket.subscribers`, or try again")
    if interface == _SERVICE:
        if name == "InvalidParameter":
            return UsageError(f"the daemon refuses the parameter {given.get('parameter')!r}")
        if name == "PermissionDenied":
            return PrivilegeError("the daemon does not permit this")
    return DataError(
        f"the daemon answered with the error {error.name!r}",
        "is it mailbelld, and of the same version?",
    )


def explain_silence(timeout: float) -> TemporaryError:
    """Makes the error for an answer that did not come.

    Args:
        timeout: how long it was waited for, in seconds.

    Returns:
        The error to raise.
    """
    return TemporaryError(f"the daemon did not answer within {timeout:g} seconds", "try again")


def gone() -> UnavailableError:
    """Makes the error for a connection that ended."""
    return UnavailableError("the daemon closed the connection", "see its log for the reason")


def garbage(error: ProtocolError) -> DataError:
    """Makes the error for bytes that are no answer.

    Args:
        error: what was wrong with them.

    Returns:
        The error to raise.
    """
    return DataError(f"the daemon sent {error}", "is it mailbelld, and of the same version?")
