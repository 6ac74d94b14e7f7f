"""The doors: one command a file, and `mailbelld` beside them.

The daemon's door lies in this package too, so importing the package must not
import click or rich: the daemon has no use for them. Hence the import below.

What `--help` says stands in constants. A docstring is not there under `python -OO`.
"""

import sys
from contextlib import suppress

from mailbell._sys.inheritance import fill_standard_streams
from mailbell._sys.signals import end_as_first_process

__all__ = ["main"]

# Before anything else is imported: what is opened next takes the number of a stream that
# is missing, and ctypes of Python 3.14 opens something when it is imported.
with suppress(OSError):  # there is no /dev/null; whoever needs it says so
    fill_standard_streams()
end_as_first_process()


def main() -> None:
    """Run the command line `mailbell` and end the process with its exit code."""
    try:
        from mailbell.cli._group import run

        code = run(sys.argv[1:])
    except KeyboardInterrupt:
        # A Ctrl-C so early that no command had begun.
        code = 130
    sys.exit(code)
