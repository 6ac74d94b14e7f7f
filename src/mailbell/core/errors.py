"""The errors that end a program of mailbell. Each has its exit code and a remedy.

A message is one line: what is wrong, where, and what to do. The exit codes are those of
sysexits(3head). Any other exception that ends a program is a bug in mailbell.
"""

import errno
from dataclasses import dataclass
from typing import Final

__all__ = [
    "ConfigurationError",
    "DataError",
    "InternalError",
    "MailbellError",
    "OperatingSystemError",
    "PrivilegeError",
    "Problem",
    "TemporaryError",
    "UnavailableError",
    "UsageError",
    "find_refusal",
]

# What the kernel answers to a wrong argument only. Nobody can help against it but who repairs the
# program, and needs the traceback for that.
_OF_A_BUG: Final = frozenset(
    {
        errno.EAGAIN, errno.EALREADY, errno.EBADF, errno.EDESTADDRREQ, errno.EEXIST, errno.EFAULT,
        errno.EINTR, errno.EINVAL, errno.EISCONN, errno.EISDIR, errno.ENOTSOCK, errno.ENOTTY,
        errno.ESPIPE,
    }
)  # fmt: skip


class MailbellError(Exception):
    """Base of all errors that are shown to a person.

    Args:
        what: what is wrong, and where.
        remedy: what to do about it; empty when nothing can be done.
    """

    exit_code = 70

    def __init__(self, what: str, remedy: str = "") -> None:
        super().__init__(what, remedy)
        self.what = what
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.what}; {self.remedy}" if self.remedy else self.what


class UsageError(MailbellError):
    """The command line is wrong. Raised by the command lines (`mailbell.cli`)."""

    exit_code = 64


class DataError(MailbellError):
    """A peer on the local socket sent invalid data. Raised by `mailbell.client`."""

    exit_code = 65


class UnavailableError(MailbellError):
    """No daemon answers, or the daemon went away. Raised by `mailbell.client`."""

    exit_code = 69


class InternalError(MailbellError):
    """Two parts of mailbell contradict each other: a bug to report. Raised by its own checks."""

    exit_code = 70

    def __init__(self, what: str, remedy: str = "report this") -> None:
        super().__init__(what, remedy)


class OperatingSystemError(MailbellError):
    """The system refuses what mailbell needs: a port is in use, a kernel feature is missing."""

    exit_code = 71


class TemporaryError(MailbellError):
    """Something did not happen in time. Another attempt may succeed."""

    exit_code = 75


class PrivilegeError(MailbellError):
    """This process lacks the permission for what it was asked to do."""

    exit_code = 77


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake in a configuration.

    Attributes:
        path: where, as in `limits.rate` or `account[2].sources[0]`.
        message: what is wrong and which form is accepted.
    """

    path: str
    message: str

    def __str__(self) -> str:
        return f"{self.path}: {self.message}" if self.path else self.message


class ConfigurationError(MailbellError):
    """The configuration is wrong, or this machine lacks what it names.

    Args:
        what: what is wrong, and where.
        remedy: what to do about it.
        problems: every problem found, when one line cannot say it all.
    """

    exit_code = 78

    def __init__(self, what: str, remedy: str = "", problems: tuple[Problem, ...] = ()) -> None:
        super().__init__(what, remedy)
        self.problems = problems


def find_refusal(error: BaseException | None) -> str | None:
    """Return what the system refused, if that and no bug ended a program.

    Args:
        error: the exception that ended it; None: there was none.

    Returns:
        The system's words for it. None: it was something else.
    """
    if isinstance(error, BaseExceptionGroup):
        return next(filter(None, map(find_refusal, error.exceptions)), None)
    if isinstance(error, OSError):
        if error.errno not in _OF_A_BUG:
            return error.strerror or repr(error)
        # Trio asks the kernel in another way before it gives up (epoll_ctl(2)). EEXIST is of that.
        return find_refusal(error.__context__) if error.errno == errno.EEXIST else None
    return None if error is None else find_refusal(error.__cause__)
