"""Reads the configuration file of mailbell-sender, for the daemon and for `mailbell sender`."""

from mailbell.cli._toml_file import in_file, read
from mailbell.core.errors import ConfigurationError
from mailbell.sender.configuration import Configuration, parse

__all__ = ["DEFAULT_PATH", "load"]

DEFAULT_PATH = "/etc/mailbell/sender.toml"


def load(path: str | None) -> Configuration:
    """Read and validate the configuration.

    Args:
        path: the path on the command line; None: the default file, if it exists.

    Returns:
        A valid configuration. This does not compare it with the machine.

    Raises:
        ConfigurationError: there are mistakes. The error has all of them; the path of each
            begins with the file's name.
        PrivilegeError: this process may not read the file.
    """
    name, data = read(path, DEFAULT_PATH)
    try:
        return parse(data or b"")
    except ConfigurationError as error:
        problems = tuple(in_file(name, problem) for problem in error.problems)
        raise ConfigurationError(error.what, error.remedy, problems) from error
