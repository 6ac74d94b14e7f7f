"""Writes to the standard streams so that the exit code does not depend on their readers.

The interpreter flushes standard output and standard error once more at its end. If that fails,
it replaces the exit code by 120. So after a failure it finds nothing to flush.
"""

import os
import sys
from contextlib import suppress

__all__ = ["discard_output", "flush_error", "flush_output", "write_error"]


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


def flush_output() -> None:
    """Write what is left for standard output. What cannot be written is lost."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except (OSError, ValueError):  # ValueError: it is closed
        discard_output()


def discard_output() -> None:
    """Let nothing that is left for standard output be an error."""
    with suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
