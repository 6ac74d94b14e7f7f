"""What is loaded in the locked process, and what is not: less code for whoever breaks in.

A closed list: a new import, also one of a library's, is noticed here and judged.
"""

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest
from harness.daemon import Daemon, ring, started, until

from mailbell._sys.unneeded import EMPTY

# Libraries, with whatever belongs to them.
LIBRARIES: Final = {
    "attr", "attrs", "mailbell", "msgspec", "outcome", "pyseccomp", "sniffio", "sortedcontainers",
    "trio",
}  # fmt: skip
# Ours, and not the daemon's.
OTHERS: Final = ("mailbell.agent", "mailbell.client", "mailbell.cli._openmetrics")
# Of the standard library, beside what an interpreter loads for itself; a name stands for
# the one with "_" before it as well, which is its part in C.
STANDARD: Final = {
    "__future__", "array", "ast", "bisect", "collections", "contextlib", "contextvars", "copy",
    "copyreg", "ctypes", "dataclasses", "datetime", "decimal", "dis", "enum", "errno", "fnmatch",
    "functools", "gc", "grp", "heapq", "importlib", "inspect", "ipaddress", "itertools", "keyword",
    "linecache", "logging", "math", "mmap", "ntpath", "numbers", "opcode", "operator", "pathlib",
    "platform", "pwd", "queue", "random", "re", "reprlib", "resource", "select", "selectors",
    "signal", "socket", "sre", "string", "struct", "textwrap", "threading", "token", "tokenize",
    "tomllib", "traceback", "types", "typing", "unicodedata", "uuid", "warnings", "weakref",
    "weakrefset",
    # Some versions only: of Python, and (json) an older msgspec.
    "colorize", "glob", "json", "opcode_metadata", "runpy", "sha2", "sha512", "urllib",
}  # fmt: skip
# Libraries in C that come with what is left out.
HEAVY: Final = re.compile(r"/lib(crypto|ssl|bz2|lzma)\b|/_(ssl|hashlib|bz2|lzma|posixsubprocess)\.")

# The ways to start it: the console script's, and `python -m`.
DOORS: Final = {
    "script": "from mailbell.cli.mailbelld import main; main()",
    "module": "import runpy; runpy.run_module('mailbell.cli.mailbelld', None, '__main__', True)",
}
# At the end, so that it is all that ever was. What only stands in a place has no loader.
TELLS: Final = """
import atexit, sys
before = set(sys.modules)
def tell():
    here = {name for name, module in sys.modules.items() if getattr(module, "__spec__", None)}
    print("loaded:", *sorted(here - before), file=sys.stderr)
atexit.register(tell)
"""


def end_of(daemon: Daemon) -> set[str]:
    """End the daemon; return the names of the modules it had loaded."""
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
