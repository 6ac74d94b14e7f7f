"""`mailbelld`: the daemon's door. It reads what it was told, and hands over.

Whatever is imported here stays in the locked process: no argparse, no click; and
of what libraries bring along, nothing that the daemon has no use for.
"""

import errno
import os
import sys
import traceback
from collections.abc import Sequence
from contextlib import suppress
from typing import NoReturn

from mailbell import __version__
from mailbell._sys import unneeded
from mailbell._sys.systemd import logs_to_journal
from mailbell.cli._text import one_line
from mailbell.core.errors import ConfigurationError, MailbellError

__all__ = ["main", "run"]

_HELP = """\
usage: mailbelld [--config FILE] [--listen HOST:PORT]... [--udp HOST:PORT]...
                 [--user NAME] [--socket PATH]

Listen for new-mail notifications as RFC 4146 has them, locked in a sandbox.

options:
  --config FILE       default: {default}, if it is there
  --listen HOST:PORT  TCP; repeatable
  --udp HOST:PORT     UDP; repeatable
  --user NAME         whom to drop to when started as root
  --socket PATH       the local socket
  -V, --version       say which version this is
  -h, --help          say this

examples:
  mailbelld                                     as the configuration file says
  mailbelld --listen 0.0.0.0:79 --listen [::]:79 --user mailbell

try it without being root, where "mailbell status" and the others find it:
  mkdir -p "$XDG_RUNTIME_DIR/mailbell"
  mailbelld --listen 127.0.0.1:7979 --socket "$XDG_RUNTIME_DIR/mailbell/mailbell.sock"
  mailbell send 127.0.0.1:7979                  in another terminal

It stays in the foreground, logs to stderr, and ends on SIGTERM or SIGINT.
Started as root it binds its sockets and drops to the user of the configuration
before it accepts anybody. "mailbell check" tells beforehand what would stop it.

exit codes: 64 usage, 70 a bug, 71 system error, 77 not permitted,
78 configuration"""


def run(words: Sequence[str]) -> int:
    """Run the daemon until it is told to stop.

    Args:
        words: the words after the program's name.

    Returns:
        The exit code; whatever had to be said is on stderr.
    """
    # Not at the top: `main` first says what the libraries of these do not get.
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
    except Exception as error:  # the last resort: a bug, shown as one
        if _lacks_memory(error):
            _end_without_memory()
        with suppress(OSError):
            traceback.print_exc()
        _complain(f"this is a bug in mailbelld: {type(error).__name__}: {error}; please report it")
        return 70
    return 0


def _known(error: MailbellError) -> int:
    if isinstance(error, ConfigurationError):
        for problem in error.problems:
            _complain(str(problem))
    _complain(str(error))
    return error.exit_code


def _lacks_memory(error: BaseException | None) -> bool:
    """Tell whether an exception is, comes of, or holds one that says memory is out."""
    if isinstance(error, BaseExceptionGroup):
        return any(map(_lacks_memory, error.exceptions))
    return error is not None and (
        isinstance(error, MemoryError) or _lacks_memory(error.__cause__ or error.__context__)
    )


def _end_without_memory() -> NoReturn:
    """Say so, and end the process at once: to end in order takes memory as well."""
    _complain(
        "there is no more memory; raise LimitDATA= and MemoryMax= of the unit, or lower"
        " limits.sources, limits.connections and socket.subscribers"
    )
    os._exit(os.EX_OSERR)


def _say(text: str) -> int:
    """Print what was asked for; return the exit code."""
    try:
        print(text, flush=True)
    except OSError as error:
        # Else the interpreter tries once more at its end.
        sys.stdout = None
        if error.errno != errno.EPIPE:  # whoever reads a pipe may have seen enough
            _complain(f"standard output: {error.strerror}")
        return os.EX_OSERR
    return 0


def _complain(message: str) -> None:
    # sd-daemon(3): "<3>" makes it an error in the journal, not just a line.
    prefix = "<3>" if logs_to_journal(os.environ) else ""
    # Where nobody can read it, the exit code says it all the same.
    with suppress(OSError):
        print(prefix + one_line("mailbelld", message), file=sys.stderr)


def main() -> None:
    """Run `mailbelld` and end the process with its exit code."""
    unneeded.replace_unneeded()
    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
