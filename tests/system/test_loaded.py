"""The modules in the locked process: an intruder can use only the code that is loaded.

The list is closed: a new import, also by a library, fails here and must be reviewed.
"""

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest
from harness.daemon import Daemon, ring, started, until

from mailbell._sys.unneeded import EMPTY

# Libraries, with all their modules.
LIBRARIES: Final = {
    "attr", "attrs", "mailbell", "msgspec", "outcome", "pyseccomp", "sniffio", "sortedcontainers",
    "trio",
}  # fmt: skip
# Modules of mailbell that the daemon must not load.
OTHERS: Final = (
    "mailbell.agent",
    "mailbell.calling",
    "mailbell.client",
    "mailbell.sender_client",
    "mailbell.cli._openmetrics",
)
# Modules of the standard library, beside those that the interpreter itself loads. A name
# also stands for its part in C, which has "_" before the name.
STANDARD: Final = {
    "__future__", "array", "ast", "bisect", "collections", "contextlib", "contextvars", "copy",
    "copyreg", "ctypes", "dataclasses", "datetime", "decimal", "dis", "enum", "errno", "fnmatch",
    "functools", "gc", "grp", "heapq", "importlib", "inspect", "ipaddress", "itertools", "keyword",
    "linecache", "logging", "math", "mmap", "ntpath", "numbers", "opcode", "operator", "pathlib",
    "platform", "pwd", "queue", "random", "re", "reprlib", "resource", "select", "selectors",
    "signal", "socket", "sre", "string", "struct", "textwrap", "threading", "token", "tokenize",
    "tomllib", "traceback", "types", "typing", "unicodedata", "uuid", "warnings", "weakref",
    "weakrefset",
    # Only some versions of Python load these, and (json) an older msgspec.
    "colorize", "glob", "json", "opcode_metadata", "runpy", "sha2", "sha512", "urllib",
}  # fmt: skip
# C libraries of the modules that are left out.
HEAVY: Final = re.compile(r"/lib(crypto|ssl|bz2|lzma)\b|/_(ssl|hashlib|bz2|lzma|posixsubprocess)\.")

# The ways to start the daemon: the console script, and `python -m`.
DOORS: Final = {
    "script": "from mailbell.cli.mailbelld import main; main()",
    "module": "import runpy; runpy.run_module('mailbell.cli.mailbelld', None, '__main__', True)",
}
# At the end, so that the list is complete. A module that only takes a place has no loader.
TELLS: Final = """
import atexit, sys
before = set(sys.modules)
def tell():
    here = {name for name, module in sys.modules.items() if getattr(module, "__spec__", None)}
    print("loaded:", *sorted(here - before), file=sys.stderr)
atexit.register(tell)
"""


def end_of(daemon: Daemon) -> set[str]:
    """End the daemon; return the names of the modules that it had loaded."""
    assert daemon.stop() == 0
    (line,) = (line for line in daemon.lines() if line.startswith("loaded: "))
    return set(line.split()[1:])


@pytest.mark.parametrize("door", DOORS)
def test_nothing_is_loaded_that_is_not_needed(
    tmp_path: Path, door: str, record_property: Callable[[str, object], None]
) -> None:
    with started(tmp_path, program=("-c", TELLS + DOORS[door])) as daemon:
        ring(daemon.endpoint())
        until(lambda: daemon.counted() == {"accepted": 1})
        loaded = end_of(daemon)
    assert {"mailbell.listener.daemon", "trio", "msgspec"} <= loaded
    assert not loaded & set(EMPTY)
    assert [name for name in loaded if name.startswith(OTHERS)] == []
    tops = {name.partition(".")[0] for name in loaded} - LIBRARIES
    assert {top for top in tops if not {top, top[1:]} & STANDARD} == set()
    if door == "script":
        record_property("sandbox: modules in the locked process", len(loaded))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may look into the daemon's memory")
def test_no_library_is_mapped_that_is_not_needed(tmp_path: Path) -> None:
    with started(tmp_path) as daemon:
        maps = Path(f"/proc/{daemon.pid}/maps").read_text().splitlines()
    files = {words[-1] for line in maps if len(words := line.split()) == 6}
    assert any("libseccomp" in file for file in files)
    assert [file for file in files if HEAVY.search(file)] == []
