"""The modules in the locked process: an intruder can use only the code that is loaded.

The list is closed: a new import, also by a library, fails here and must be reviewed.
"""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest
from harness.daemon import Running, ring, started, until
from harness.libseccomp import BINDING
from harness.ringer import ringing, settings
from harness.sender import PATIENCE

from mailbell._sys.unneeded import EMPTY

# Libraries, with all their modules.
LIBRARIES: Final = {
    "attr", "attrs", "mailbell", "msgspec", "outcome", "sniffio", "sortedcontainers", "trio",
    BINDING,
}  # fmt: skip
# Modules of mailbell that the daemon must not load.
OTHERS: Final = (
    "mailbell.agent",
    "mailbell.calling",
    "mailbell.client",
    "mailbell.sender_client",
    "mailbell.cli._openmetrics",
)
# Each daemon loads nothing of the other one.
OTHERS_OF: Final = {"mailbelld": ("mailbell.sender",), "mailbell-sender": ("mailbell.listener",)}
# What the sender needs in addition: its database.
STANDARD_OF: Final = {"mailbelld": set[str](), "mailbell-sender": {"sqlite3"}}
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
if sys.version_info >= (3, 14):
    # annotationlib: annotations that are worked out late (PEP 649), for typing and inspect.
    # py_warnings: the half of warnings that is written in Python. io: the interpreter itself loads
    # only its part in C.
    STANDARD.update({"annotationlib", "io", "py_warnings"})
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


def end_of(daemon: Running) -> set[str]:
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
    require_nothing_else("mailbelld", loaded)
    if door == "script":
        record_property("sandbox: modules in the locked process", len(loaded))


def test_the_sender_loads_nothing_that_is_not_needed(
    open_path: Path, record_property: Callable[[str, object], None]
) -> None:
    """With a name in its configuration: only the resolver's own process loads dnspython."""
    toml = settings(open_path, '[[account]]\nname = "anna"\ntargets = ["localhost:9"]\n')
    door = "from mailbell.cli.mailbell_sender import main; main()"
    with ringing(open_path, toml, program=("-c", TELLS + door)) as sender:
        sender.say("new anna", "seen anna 192.0.2.1")
        sender.until_logged("event=not_allowed account=anna")  # a name of this host itself
        assert sender.ask("Explain", account="anna")["account"] == "anna"
        loaded = end_of(sender)
    assert {"mailbell.sender.daemon", "trio", "msgspec", "sqlite3"} <= loaded
    require_nothing_else("mailbell-sender", loaded)
    record_property("sandbox: modules in the locked sender", len(loaded))


def test_the_resolver_loads_of_dnspython_what_reads_names(
    record_property: Callable[[str, object], None],
) -> None:
    """It is a copy of the sender, and then it loads this, before its lock."""
    looks = (
        "from mailbell._sys.unneeded import replace_unneeded; replace_unneeded()\n"
        "import sys, mailbell.sender.daemon, mailbell.sender.resolver\n"
        "before = set(sys.modules); import mailbell.sender._dns_reply\n"
        "print(*sorted(set(sys.modules) - before))"
    )
    done = subprocess.run(
        [sys.executable, "-c", looks], check=True, capture_output=True, text=True, timeout=PATIENCE
    )
    loaded = set(done.stdout.split())
    assert {"dns.name", "mailbell.sender._dns_reply"} <= loaded
    tops = {name.partition(".")[0] for name in loaded} - {"mailbell"} - STANDARD
    # How names in other alphabets are written: dnspython imports it, and its reader needs none.
    assert tops == {"dns", "encodings", "stringprep"}
    # No record type: there is a module for each, looked for by what a server says.
    assert [name for name in loaded if name.startswith(("dns.rd", "dns.message"))] == []
    record_property("sandbox: modules that the resolver has in addition", len(loaded))


def require_nothing_else(program: str, loaded: set[str]) -> None:
    """Nothing is loaded but what the closed list names."""
    assert not loaded & set(EMPTY)
    others = (*OTHERS, *OTHERS_OF[program])
    assert [name for name in loaded if name.startswith(others)] == []
    tops = {name.partition(".")[0] for name in loaded} - LIBRARIES
    needed = STANDARD | STANDARD_OF[program]
    assert {top for top in tops if not {top, top[1:]} & needed} == set()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may look into the daemon's memory")
def test_no_library_is_mapped_that_is_not_needed(tmp_path: Path) -> None:
    with started(tmp_path) as daemon:
        maps = Path(f"/proc/{daemon.pid}/maps").read_text().splitlines()
    require_nothing_heavy(maps)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may look into the daemon's memory")
def test_no_library_is_mapped_that_the_sender_does_not_need(open_path: Path) -> None:
    with ringing(open_path) as sender:
        maps = Path(f"/proc/{sender.pid}/maps").read_text().splitlines()
    require_nothing_heavy(maps)


def require_nothing_heavy(maps: list[str]) -> None:
    files = {words[-1] for line in maps if len(words := line.split()) == 6}
    # Debian's binding contains libseccomp.
    assert any(re.search(r"/libseccomp\.so|/seccomp\.cpython-", file) for file in files)
    assert [file for file in files if HEAVY.search(file)] == []
