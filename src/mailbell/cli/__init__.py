"""The doors: one command a file, and `mailbelld` beside them.

The daemon's door lies in this package too, so importing the package must not
import click or rich: the daemon has no use for them. Hence the import below.

What `--help` says stands in constants. A docstring is not there under `python -OO`.
"""

import sys

__all__ = ["main"]


def main() -> None:
    """Run the command line `mailbell` and end the process with its exit code."""
    try:
        from mailbell.cli._group import run

        code = run(sys.argv[1:])
    except KeyboardInterrupt:
        # A Ctrl-C so early that no command had begun.
        code = 130
    sys.exit(code)
