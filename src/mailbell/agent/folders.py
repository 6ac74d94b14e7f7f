"""The folders of the person below the home folder."""

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
        ConfigurationError: there is no home folder.
    """
    configured = environ.get("XDG_CONFIG_HOME", "")
    # The XDG specification: a relative one is ignored.
    return configured if configured.startswith("/") else f"{_home(environ)}/.config"


def state_folder(environ: Mapping[str, str]) -> str:
    """Return the folder for the locks of this person.

    It is below the home folder and nowhere else, because all agents of a person must
    agree on it. That includes an agent that cron started before any login, when there is
    no folder in /run/user, and one that outlives a logout, which takes that folder away.

    Args:
        environ: the environment.

    Returns:
        `~/.local/state/mailbell`.

    Raises:
        ConfigurationError: there is no home folder.
    """
    return f"{_home(environ)}/.local/state/mailbell"


def _home(environ: Mapping[str, str]) -> str:
    """Return the home folder.

    Only HOME counts, and not the list of users: what the person's other programs are told
    is right for this one too. A relative folder would be another one for each program.
    """
    home = environ.get("HOME", "")
    if not home:
        raise ConfigurationError("HOME is not set", "set it to your home folder")
    if not home.startswith("/"):
        raise ConfigurationError(f"HOME={home!a} is no absolute path", "set it to your home folder")
    return home.rstrip("/")
