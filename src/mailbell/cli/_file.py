"""Reading the configuration file, for the daemon and for `mailbell check`."""

from mailbell.core.errors import ConfigurationError, MailbellError, PrivilegeError, Problem
from mailbell.listener.configuration import Configuration, Overrides, parse

__all__ = ["DEFAULT_PATH", "in_file", "load", "read"]

DEFAULT_PATH = "/etc/mailbell/mailbelld.toml"

# The parser's own cap; one byte more shows it that there was more.
_MAX_SIZE = 1024 * 1024


def read(path: str | None) -> tuple[str, bytes | None]:
    """Read the file, never more of it than the parser would take.

    Args:
        path: as named on the command line; None: the default one, if it exists.

    Returns:
        The path that was looked for, and what is in the file; None when there
        is no default file, which means the built-in defaults.

    Raises:
        ConfigurationError: the named file does not exist, or is no file.
        PrivilegeError: it may not be read.
    """
    wanted = DEFAULT_PATH if path is None else path
    try:
        with open(wanted, "rb") as file:
            return wanted, file.read(_MAX_SIZE + 1)
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
        path: as named on the command line; None: the default one, if it exists.
        overrides: what the command line says otherwise.

    Returns:
        A valid configuration; not yet held against the machine.

    Raises:
        ConfigurationError: with every problem; each one's path begins with
            the file's name, unless it is the command line's own.
        PrivilegeError: the file may not be read.
    """
    name, data = read(path)
    try:
        return parse(data or b"", overrides)
    except ConfigurationError as error:
        problems = tuple(in_file(name, problem) for problem in error.problems)
        raise ConfigurationError(error.what, error.remedy, problems) from error


def in_file(name: str, problem: Problem) -> Problem:
    """Say of a problem which file it is in.

    Args:
        name: of the file.
        problem: of the file, or of the command line.

    Returns:
        The problem; its path begins with the file's name, unless it is an option.
    """
    if problem.path.startswith("--"):
        return problem
    return Problem(f"{name}: {problem.path}" if problem.path else name, problem.message)
