"""Fills missing standard streams, before anything else is opened.

A program may be started without standard input, output or error. The next file that it
opens would get the number of the missing stream. So this module imports nothing that
opens a file.
"""

import os
from typing import Final

__all__ = ["fill_standard_streams"]

_LAST: Final = 2


def fill_standard_streams() -> None:
    """Open /dev/null in the place of each standard stream that is missing.

    Raises:
        OSError: /dev/null is missing.
    """
    while (null := os.open(os.devnull, os.O_RDWR)) <= _LAST:
        pass
    os.close(null)
