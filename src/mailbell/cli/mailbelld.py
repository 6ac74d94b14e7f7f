"""`mailbelld`: reads the command line and the configuration, and runs the daemon.

Every module that is imported here stays in the locked process. So argparse and click are
not used, and parts of libraries that the daemon does not need are not loaded.

Until `main` has made the process undumpable, every process of the same user can attach to
it. So what takes long to import is imported after that.
"""

from collections.abc import Sequence

from mailbell import __version__
from mailbell.cli._door import Door

__all__ = ["HELP", "main", "run"]

DOOR = Door(
    "mailbelld",
    "raise LimitDATA= and MemoryMax= of the unit, or lower limits.sources, limits.connections"
    " and socket.subscribers",
)

HELP = """\
usage: mailbelld [--config FILE] [--listen HOST:PORT]... [--udp HOST:PORT]...
                 [--user NAME] [--socket PATH]

Listen for new-mail notifications as RFC 4146 has them, locked in a sandbox.

options:
  --config FILE       default: {default}, if it exists
  --listen HOST:PORT  TCP; repeatable
  --udp HOST:PORT     UDP; repeatable
  --user NAME         the user to become when started as root
  --socket PATH       the local socket
  -V, --version       print the version
  -h, --help          print this help

examples:
  mailbelld                                     with the configuration file
  mailbelld --listen 0.0.0.0:79 --listen [::]:79 --user mailbell

try it without being root, where "mailbell status" and the others find it:
  mkdir -p "$XDG_RUNTIME_DIR/mailbell"
  mailbelld --listen 127.0.0.1:7979 \\
    --socket "$XDG_RUNTIME_DIR/mailbell/mailbell.sock"
  mailbell send 127.0.0.1:7979                  in another terminal

It stays in the foreground, logs to stderr, and ends on SIGTERM or SIGINT.
Started as root, it binds its sockets and becomes the user of the configuration
before it accepts connections. "mailbell check" shows what prevents a start.

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
    from mailbell.cli import _file, _options
    from mailbell.listener import daemon

    def start() -> int:
        options = _options.read(words)
        if options.help:
            return DOOR.say(HELP.format(default=_file.DEFAULT_PATH))
        if options.version:
            return DOOR.say(f"mailbelld {__version__}")
        daemon.run(_file.load(options.config, options.overrides()))
        return 0

    return DOOR.serve(start)


def main() -> None:
    """Run `mailbelld` and end the process with its exit code."""
    DOOR.main(run)


if __name__ == "__main__":
    main()
