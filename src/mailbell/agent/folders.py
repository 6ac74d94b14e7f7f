"""The folders below the person's home folder."""

from collections.abc import Mapping

from mailbell.core.errors import ConfigurationError

__all__ = ["configuration_folder", "state_folder"]


def configuration_folder(environ: Mapping[str, str]) -> str:
    """Return the folder in which programs keep the person's configuration.

    Args:
        environ: the environment.

    Returns:
        XDG_CONFIG_HOME if it is absolute, else `~/.config`.

    Raises:
        ConfigurationError: HOME names no home folder.
    """
    configured = environ.get("XDG_CONFIG_HOME", "")
    # The XDG specification: a relative path is ignored.
    return configured if configured.startswith("/") else f"{_home(environ)}/.config"


def state_folder(environ: Mapping[str, str]) -> str:
    """Return the folder for the locks of this person.

    It is always below the home folder, because all agents of a person must use the same
    one. Cron may start an agent before a login, when there is no folder in /run/user.
    Another agent may run after a logout, which removes that folder.

    Args:
        environ: the environment.

    Returns:
        `~/.local/state/mailbell`.

    Raises:
        ConfigurationError: HOME names no home folder.
    """
    return f"{_home(environ)}/.local/state/mailbell"


def _home(environ: Mapping[str, str]) -> str:
    """Return the home folder.

    Only HOME counts, and not the list of users: the person's other programs also use HOME.
    A relative folder would be a different one for each program.
    """
    home = environ.get("HOME", "")
    if not home:
        raise ConfigurationError("HOME is not set", "set it to your home folder")
    if not home.startswith("/"):
        raise ConfigurationError(f"HOME={home!a} is no absolute path", "set it to your home folder")
    return home.rstrip("/")
