"""Keeps libraries from running programs when they are imported. Import this first.

`ctypes.util.find_library` runs ldconfig, and where that finds nothing gcc and
ld, looked for in PATH and perhaps as root. Trio asks it for a library to name
its threads with. The dynamic linker knows where that is; there is nothing else
that the daemon's libraries search, and so nothing is searched from here on.
"""

import ctypes.util
from typing import Final

__all__ = ["KNOWN"]

# glibc's name. Where there is none the daemon, which has one thread, does without.
KNOWN: Final = {"pthread": "libpthread.so.0"}


def _find_library(name: str) -> str | None:
    return KNOWN.get(name)


ctypes.util.find_library = _find_library
