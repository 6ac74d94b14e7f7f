"""The command line: one file for each command of `mailbell`, and one for `mailbelld`.

`mailbelld` starts from this package too, and has no use for click and rich. So importing
the package must not import them, and `main` imports its command late.

The text of `--help` is in constants, because `python -OO` removes docstrings.
"""

import sys
from contextlib import suppress

from mailbell._sys.signals import end_as_first_process
from mailbell._sys.standard_streams import fill_standard_streams
from mailbell.cli._streams import flush_error, flush_output

__all__ = ["main"]

# This comes before all other imports. The next file that is opened takes the number of a
# missing stream, and ctypes of Python 3.14 opens a file when it is imported.
with suppress(OSError):  # there is no /dev/null; the code that needs it reports that
    fill_standard_streams()
end_as_first_process()


def main() -> None:
    """Run the command line `mailbell` and end the process with its exit code."""
    try:
        from mailbell.cli._group import run

        code = run(sys.argv[1:])
    except KeyboardInterrupt:
        # Ctrl-C came before a command had begun.
        code = 130
    finally:  # a signal may end a command with SystemExit
        flush_output()
        flush_error()
    sys.exit(code)
