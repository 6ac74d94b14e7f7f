"""Reads a configuration file: a bounded part of it, with errors that name the remedy."""

from mailbell.configuration.reader import MAX_BYTES
from mailbell.core.errors import ConfigurationError, MailbellError, PrivilegeError, Problem

__all__ = ["in_file", "read"]


def read(path: str | None, default: str) -> tuple[str, bytes | None]:
    """Read the file, at most one byte more than the parser accepts.

    Args:
        path: the path on the command line; None: the default file, if it exists.
        default: the path of the default file.

    Returns:
        The path, and the content of the file. The content is None if there is no default
        file: then the built-in defaults hold.

    Raises:
        ConfigurationError: the named file does not exist, or is not a regular file.
        PrivilegeError: this process may not read the file.
    """
    wanted = default if path is None else path
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
