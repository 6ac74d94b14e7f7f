"""Leaves out what libraries import and the daemon never uses.

Trio offers TLS, host names and child processes, and imports what it takes to do
that: libssl and libcrypto, tables of international names, a way to start programs.
The daemon does none of it. What is not there takes no memory, and is of no use to
an intruder. In its place stands an empty module: importing it works, and whoever
touches it gets an AttributeError.
"""

import ctypes
import sys
from types import ModuleType
from typing import Any, Final

__all__ = ["EMPTY", "KNOWN", "leave_out"]

EMPTY: Final = (
    "hmac",  # of Trio's DTLS; loads libcrypto
    "idna",  # of Trio's look-up of host names
    "ssl",  # of Trio's TLS; loads libssl and libcrypto
    "subprocess",  # of Trio's child processes; and of platform, which uuid and so msgspec imports
    "typing_extensions",  # msgspec does without where it is not installed
)
# What Trio names its threads with; the name is glibc's. Where there is none the daemon, which
# has one thread, does without.
KNOWN: Final = {"pthread": "libpthread.so.0"}


def leave_out() -> None:
    """Put empty modules in the place of what nobody needs; call this before Trio is imported.

    What is loaded already stays, because somebody in this process may use it.
    """
    for name in EMPTY:
        sys.modules.setdefault(name, ModuleType(name))
    _search_nothing()


def _search_nothing() -> None:
    """Answer for `ctypes.util.find_library`, which Trio and pyseccomp ask when imported.

    It runs ldconfig, and where that finds nothing gcc and ld, looked for in PATH and
    perhaps as root. Nothing else of `ctypes.util` is asked for.
    """
    util: Any = sys.modules.setdefault("ctypes.util", ModuleType("ctypes.util"))
    util.find_library = KNOWN.get
    ctypes.util = util  # type: ignore[attr-defined]  # where `import ctypes.util` looks for it
