"""The facts of a machine, which replace the placeholders of a recipe."""

import re
from dataclasses import dataclass, fields
from typing import Final

from mailbell.core.errors import ConfigurationError
from mailbell.core.escape import printable

__all__ = ["PLACEHOLDER", "PLACEHOLDERS", "Facts", "filled", "is_safe", "words"]

PLACEHOLDERS: Final = ("hook", "socket", "cyrus", "files", "user", "home")
PLACEHOLDER: Final = re.compile(r"@([a-z]+)@", re.ASCII)

# These characters mean nothing to a shell, to Lua, to TOML, or to the configuration of a mail
# server, with and without quotation marks.
_HARMLESS: Final = re.compile(r"[A-Za-z0-9/._+@-]{1,200}", re.ASCII)


def is_safe(value: str) -> bool:
    """Tell whether a value may stand anywhere in the configuration of a mail server.

    Args:
        value: a path or a name.
    """
    return _HARMLESS.fullmatch(value) is not None and not value.startswith("-")


@dataclass(frozen=True, slots=True)
class Facts:
    """What the placeholders of a recipe stand for. The defaults are those of the pages.

    Attributes:
        hook: the path of mailbell-hook.
        socket: the path of the hooks' socket.
        cyrus: the path of the socket for Cyrus.
        files: the folder with the files of mailbell for mail servers.
        user: a user who gets mail.
        home: the home folder of the user.
    """

    hook: str = "/usr/bin/mailbell-hook"
    socket: str = "/run/mailbell-sender/hook"
    cyrus: str = "/run/mailbell-cyrus/cyrus"
    files: str = "/usr/share/mailbell/servers"
    user: str = "alice"
    home: str = "/home/alice"

    def __post_init__(self) -> None:
        for each in fields(self):
            value = getattr(self, each.name)
            if not is_safe(value):
                what = f"'{printable(value[:200])}' is not safe in a mail server's configuration"
                remedy = f"let @{each.name}@ have letters, digits and / . _ + @ - only"
                raise ConfigurationError(what, remedy)


def filled(text: str, facts: Facts) -> str:
    """Replace the placeholders in a text.

    Args:
        text: a text of a recipe. What is no placeholder stays as it is.
        facts: the facts of the machine.
    """
    return PLACEHOLDER.sub(lambda found: str(getattr(facts, found[1], found[0])), text)


def words(command: tuple[str, ...], facts: Facts) -> tuple[str, ...]:
    """Replace the placeholders in the words of a command.

    Args:
        command: its words, from a recipe.
        facts: the facts of the machine.
    """
    return tuple(filled(word, facts) for word in command)
