"""Writes a message to standard error so that the exit code does not depend on its reader."""

import sys

__all__ = ["write_error"]


def write_error(line: str) -> None:
    """Write one line to standard error. A line that cannot be written is lost.

    The interpreter flushes standard error once more at its end. If that fails, it
    replaces the exit code by 120. So after a failure it finds no standard error.

    Args:
        line: the line, without its end.
    """
    try:
        print(line, file=sys.stderr, flush=True)
    except OSError:
        sys.stderr = None  # as Python starts where there is none
