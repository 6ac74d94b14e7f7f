"""Reads the configuration file, for the daemon and for `mailbell check`."""

from mailbell.configuration.reader import MAX_BYTES
from mailbell.core.errors import ConfigurationError, MailbellError, PrivilegeError, Problem
from mailbell.listener.configuration import Configuration, Overrides, parse

__all__ = ["DEFAULT_PATH", "in_file", "load", "read"]

DEFAULT_PATH = "/etc/mailbell/mailbelld.toml"


def read(path: str | None) -> tuple[str, bytes | None]:
    """Read the file, at most one byte more than the parser accepts.

    Args:
        path: the path on the command line; None: the default file, if it exists.

    Returns:
        The path, and the content of the file. The content is None if there is no default
        file: then the built-in defaults hold.

    Raises:
        ConfigurationError: the named file does not exist, or is not a regular file.
        PrivilegeError: this process may not read the file.
    """
    wanted = DEFAULT_PATH if path is None else path
    try:
        with open(wanted, "rb") as file:
            # One byte more than the reader accepts, so that it can refuse a longer file.
            return wanted, file.read(MAX_BYTES + 1)
    except FileNotFoundError as error:
        if path is None:
            return wanted, None
        remedy = "create it, or leave --config out for the built-in defaults"
        raise ConfigurationError(f"{wanted}: no such file", remedy) from error
    except OSError as error:
        raise _unreadable(wanted, error) from error


def _unreadable(path: str, error: OSError) -> MailbellError:
    if isinstance(error, PermissionError):
        return PrivilegeError(f"{path}: may not be read", "let this user read it, or use root")
    return ConfigurationError(f"{path}: {error.strerror}", "name a regular file")


def load(path: str | None, overrides: Overrides) -> Configuration:
    """Read and validate the configuration.

    Args:
        path: the path on the command line; None: the default file, if it exists.
        overrides: the values on the command line, which replace those of the file.

    Returns:
        A valid configuration. This does not compare it with the machine.

    Raises:
        ConfigurationError: there are mistakes. The error has all of them; the path of each
            begins with the file's name, or is an option of the command line.
        PrivilegeError: this process may not read the file.
    """
    name, data = read(path)
    try:
        return parse(data or b"", overrides)
    except ConfigurationError as error:
        problems = tuple(in_file(name, problem) for problem in error.problems)
        raise ConfigurationError(error.what, error.remedy, problems) from error


def in_file(name: str, problem: Problem) -> Problem:
    """Add the name of the file to the path of a problem.

    Args:
        name: the name of the file.
        problem: a problem in the file or on the command line.

    Returns:
        The problem. Its path begins with the file's name, unless it is an option.
    """
    if problem.path.startswith("--"):
        return problem
    return Problem(f"{name}: {problem.path}" if problem.path else name, problem.message)
