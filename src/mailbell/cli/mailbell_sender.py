"""`mailbell-sender`: reads the command line and the configuration, and runs the daemon.

Every module that is imported here stays in the locked process: see `mailbell.cli.mailbelld`.
"""

from collections.abc import Sequence

from mailbell import __version__
from mailbell.cli._door import Door

__all__ = ["HELP", "main", "run"]

DOOR = Door(
    "mailbell-sender",
    "raise LimitDATA= and MemoryMax= of the unit, or lower send.connections and"
    " last_used.addresses",
)

HELP = """\
usage: mailbell-sender [--config FILE]

Ring the people whose mail has arrived, as RFC 4146 has it, locked in a sandbox.

options:
  --config FILE       default: {default}, if it exists
  -V, --version       print the version
  -h, --help          print this help

It stays in the foreground, logs to stderr, and ends on SIGTERM or SIGINT.
Started as root, it binds its sockets and becomes the user of the configuration
before it accepts connections. Mail servers speak to it with mailbell-hook.
"mailbell sender check" shows what prevents a start.

exit codes: 64 usage, 70 a bug, 71 system error, 77 not permitted,
78 configuration"""


def run(words: Sequence[str]) -> int:
    """Run the daemon until a signal ends it.

    Args:
        words: the words after the program's name.

    Returns:
        The exit code. Messages are on stderr.
    """
    # Imported late: `main` first replaces modules that the libraries would load for nothing.
    from mailbell.cli import _sender_file
    from mailbell.sender import daemon

    def start() -> int:
        name, path = _option(words)
        if name == "--help":
            return DOOR.say(HELP.format(default=_sender_file.DEFAULT_PATH))
        if name == "--version":
            return DOOR.say(f"mailbell-sender {__version__}")
        daemon.run(_sender_file.load(path))
        return 0

    return DOOR.serve(start)


def _option(words: Sequence[str]) -> tuple[str, str | None]:
    """Return the option of the command line, and the value of `--config`; the last one counts."""
    from mailbell.core.errors import UsageError

    see = "see 'mailbell-sender --help'"
    path = None
    rest = list(words)
    while rest:
        name, equals, value = rest.pop(0).partition("=")
        if name in {"-h", "--help", "-V", "--version"} and not equals:
            return ("--help" if name in {"-h", "--help"} else "--version"), None
        if not name.startswith("-"):
            raise UsageError(f"{name}: mailbell-sender takes options only", see)
        if name != "--config":
            raise UsageError(f"{name}: no such option", see)
        if not equals:
            if not rest:
                raise UsageError(f"{name}: its value is missing", see)
            value = rest.pop(0)
        path = value
    return "", path


def main() -> None:
    """Run `mailbell-sender` and end the process with its exit code."""
    DOOR.main(run)


if __name__ == "__main__":
    main()
