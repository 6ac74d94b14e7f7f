"""`mailbelld`: reads the command line and the configuration, and runs the daemon.

Every module that is imported here stays in the locked process. So argparse and click are
not used, and parts of libraries that the daemon does not need are not loaded.

Until `main` has made the process undumpable, every process of the same user can attach to
it. So what takes long to import is imported after that.
"""

import errno
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import NoReturn

from mailbell import __version__
from mailbell._sys.undumpable import make_undumpable
from mailbell.cli._stderr import write_error
from mailbell.cli._text import one_line
from mailbell.core.errors import ConfigurationError, MailbellError

__all__ = ["main", "run"]

_HELP = """\
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
    import traceback

    from mailbell.cli import _file, _options
    from mailbell.listener import daemon

    try:
        options = _options.read(words)
        if options.help:
            return _say(_HELP.format(default=_file.DEFAULT_PATH))
        if options.version:
            return _say(f"mailbelld {__version__}")
        daemon.run(_file.load(options.config, options.overrides()))
    except MailbellError as error:
        return _known(error)
    except KeyboardInterrupt:
        return 130
    except Exception as error:  # a bug in mailbelld, and reported as one
        if _lacks_memory(error):
            _end_without_memory()
        with suppress(OSError):
            traceback.print_exc()
        _complain(f"this is a bug in mailbelld: {type(error).__name__}: {error}; please report it")
        return 70
    return 0


def _complain(message: str) -> None:
    """Write a message about an error as one line."""
    write_error(one_line("mailbelld", message))


def _known(error: MailbellError) -> int:
    if isinstance(error, ConfigurationError):
        for problem in error.problems:
            _complain(str(problem))
    _complain(str(error))
    return error.exit_code


def _lacks_memory(error: BaseException | None) -> bool:
    """Return whether a MemoryError is the exception, its cause, or a part of its group."""
    if isinstance(error, BaseExceptionGroup):
        return any(map(_lacks_memory, error.exceptions))
    return error is not None and (
        isinstance(error, MemoryError) or _lacks_memory(error.__cause__ or error.__context__)
    )


def _end_without_memory() -> NoReturn:
    """Report it and end the process at once: an orderly end would need memory too."""
    _complain(
        "there is no more memory; raise LimitDATA= and MemoryMax= of the unit, or lower"
        " limits.sources, limits.connections and socket.subscribers"
    )
    os._exit(os.EX_OSERR)


def _say(text: str) -> int:
    """Print a text on stdout; return the exit code."""
    try:
        print(text, flush=True)
    except OSError as error:
        # Otherwise the interpreter tries to write again when it ends.
        sys.stdout = None
        if error.errno != errno.EPIPE:  # the reader of a pipe may end early
            _complain(f"standard output: {error.strerror}")
        return os.EX_OSERR
    return 0


def main() -> None:
    """Run `mailbelld` and end the process with its exit code."""
    try:
        make_undumpable()
    except MailbellError as error:
        sys.exit(_known(error))
    from mailbell._sys import unneeded

    unneeded.replace_unneeded()
    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
