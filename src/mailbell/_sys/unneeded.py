"""Leaves out modules that libraries import and the daemon never uses.

Trio offers TLS, host names and child processes. For them it imports libssl, libcrypto,
tables of international names and a module that starts programs. dnspython asks whether optional
packages are installed, and for that loads three libraries that unpack archives. The daemon
needs none of these. A module that is not loaded takes no memory, and an intruder cannot use it.
An empty module takes its place: to import it works, and to use it raises AttributeError.

This module itself imports nothing that is left out, so ctypes comes late.
"""

import sys
from types import ModuleType
from typing import Any, Final

__all__ = ["EMPTY", "KNOWN", "permit_again", "replace_unneeded"]

EMPTY: Final = (
    "fcntl",  # for pathlib of Python 3.14, which copies files with it
    "hmac",  # for Trio's DTLS; it loads libcrypto
    "idna",  # for Trio's look-up of host names
    "importlib.metadata",  # dnspython looks for optional packages; it loads libbz2, liblzma, libz
    "ssl",  # for Trio's TLS; it loads libssl and libcrypto
    "subprocess",  # for Trio's child processes, and for platform (msgspec imports uuid, uuid it)
    "sysconfig",  # for ctypes of Python 3.14, on other systems than Linux
    "typing_extensions",  # optional for msgspec
)
# Trio names its threads with this library; the file name is glibc's. The daemon has one
# thread, so it does not matter if the library is missing.
KNOWN: Final = {"pthread": "libpthread.so.0"}

_empty: dict[str, ModuleType] = {}


def replace_unneeded() -> None:
    """Put empty modules in the place of unneeded ones, and import ctypes.

    Call this before ctypes and Trio are imported.

    A module that is loaded already stays, because other code in this process may use it.
    """
    for name in EMPTY:
        if name not in sys.modules:
            _empty[name] = sys.modules[name] = ModuleType(name)
    _search_nothing()


def permit_again() -> None:
    """Let whoever imports an unneeded module from now on get the real one.

    A companion that needs one calls this: what it has loaded of Trio keeps the empty ones.
    """
    for name, module in _empty.items():
        if sys.modules.get(name) is module:
            del sys.modules[name]


def _search_nothing() -> None:
    """Replace `ctypes.util.find_library`, which Trio and pyseccomp call when imported.

    The original runs ldconfig. If that finds nothing it runs gcc and ld from PATH, perhaps
    as root. Trio and pyseccomp use nothing else of `ctypes.util`.
    """
    import ctypes

    util: Any = sys.modules.setdefault("ctypes.util", ModuleType("ctypes.util"))
    util.find_library = KNOWN.get
    ctypes.util = util  # type: ignore[attr-defined]  # where `import ctypes.util` looks for it
