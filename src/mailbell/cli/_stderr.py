"""Writes to standard error so that the exit code does not depend on its reader.

The interpreter flushes standard error once more at its end. If that fails, it replaces the exit
code by 120. So after a failure it finds no standard error.
"""

import sys
from contextlib import suppress

__all__ = ["flush_error", "write_error"]


def write_error(line: str) -> None:
    """Write one line to standard error. A line that cannot be written is lost.

    Args:
        line: the line, without its end.
    """
    if sys.stderr is not None:  # print() would take None for standard output
        with suppress(OSError):
            print(line, file=sys.stderr)
    flush_error()


def flush_error() -> None:
    """Write what is left for standard error, as the last thing that a program does.

    Not all of it comes from this program: the interpreter writes there about an error that it
    ignores, as in a signal's handler, and keeps what it could not write.
    """
    try:
        if sys.stderr is not None:
            sys.stderr.flush()
    except OSError:
        sys.stderr = None  # as Python starts where there is none
