"""Reads the command line of `mailbelld`: five options, each with a value.

argparse and click are not used: their code would stay in the locked process. argparse and
its message catalogues take half a megabyte, as measured.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from mailbell.core.errors import UsageError
from mailbell.listener.configuration import Overrides

__all__ = ["Options", "read"]

_SEE = "see 'mailbelld --help'"


@dataclass(slots=True)
class Options:
    """The options of the command line.

    Attributes:
        config: the configuration file; None: the default file, if it exists.
        listen: replaces `listen.tcp`.
        udp: replaces `listen.udp`.
        user: replaces `listen.user`.
        socket: replaces `socket.path`.
        help: whether only to print the help.
        version: whether only to print the version.
    """

    config: str | None = None
    listen: list[str] = field(default_factory=list)
    udp: list[str] = field(default_factory=list)
    user: str | None = None
    socket: str | None = None
    help: bool = False
    version: bool = False

    def overrides(self) -> Overrides:
        """Return the values that replace those of the configuration file."""
        return Overrides(
            listen=tuple(self.listen), udp=tuple(self.udp), user=self.user, socket=self.socket
        )


def read(words: Sequence[str]) -> Options:
    """Read a command line.

    Args:
        words: the words after the program's name.

    Returns:
        The options. If an option is given twice, the last value counts. `--listen` and
        `--udp` may be repeated, and all values count.

    Raises:
        UsageError: a word is unknown, or a value is missing. Options cannot be abbreviated:
            a unit file must not change its meaning when an option is added.
    """
    options = Options()
    rest = list(words)
    while rest:
        name, equals, value = rest.pop(0).partition("=")
        if name in {"-h", "--help", "-V", "--version"} and not equals:
            setattr(options, "help" if name in {"-h", "--help"} else "version", True)
            continue
        if not name.startswith("-"):
            raise UsageError(f"{name}: mailbelld takes options only", _SEE)
        if name not in {"--config", "--listen", "--udp", "--user", "--socket"}:
            raise UsageError(f"{name}: no such option", _SEE)
        if not equals:
            if not rest:
                raise UsageError(f"{name}: its value is missing", _SEE)
            value = rest.pop(0)
        _take(options, name.removeprefix("--"), value)
    return options


def _take(options: Options, name: str, value: str) -> None:
    held = getattr(options, name)
    if isinstance(held, list):
        held.append(value)
    else:
        setattr(options, name, value)
