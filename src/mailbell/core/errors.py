"""The errors mailbell ends with: each knows its exit code and says what to do.

A message is one line: what is wrong, where, and the remedy. Exit codes are
those of sysexits(3head). Anything else that escapes is a bug in mailbell.
"""

from dataclasses import dataclass

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
]


class MailbellError(Exception):
    """Base of all errors a person is shown.

    Args:
        what: what is wrong, and where.
        remedy: what to do about it; empty when there is nothing to do.
    """

    exit_code = 70

    def __init__(self, what: str, remedy: str = "") -> None:
        super().__init__(what, remedy)
        self.what = what
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.what}; {self.remedy}" if self.remedy else self.what


class UsageError(MailbellError):
    """The command line is wrong. Raised by the doors (`mailbell.cli`)."""

    exit_code = 64


class DataError(MailbellError):
    """A peer on the local socket spoke nonsense. Raised by `mailbell.client`."""

    exit_code = 65


class UnavailableError(MailbellError):
    """There is no daemon, or it went away. Raised by `mailbell.client`."""

    exit_code = 69


class InternalError(MailbellError):
    """mailbell contradicts itself. Raised where a proof fails: report it."""

    exit_code = 70

    def __init__(self, what: str, remedy: str = "report this") -> None:
        super().__init__(what, remedy)


class OperatingSystemError(MailbellError):
    """The system refuses what is needed: a port is taken, a kernel feature is missing."""

    exit_code = 71


class TemporaryError(MailbellError):
    """It did not happen in time; trying again may help."""

    exit_code = 75


class PrivilegeError(MailbellError):
    """This process may not do what it was asked to."""

    exit_code = 77


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong in a configuration.

    Attributes:
        path: where, as in `limits.rate` or `account[2].sources[0]`.
        message: what is wrong and which form is accepted.
    """

    path: str
    message: str

    def __str__(self) -> str:
        return f"{self.path}: {self.message}" if self.path else self.message


class ConfigurationError(MailbellError):
    """The configuration, or what it names on this machine, is wrong.

    Args:
        what: what is wrong, and where.
        remedy: what to do about it.
        problems: every problem found, when there is more to say than one line.
    """

    exit_code = 78

    def __init__(self, what: str, remedy: str = "", problems: tuple[Problem, ...] = ()) -> None:
        super().__init__(what, remedy)
        self.problems = problems
