"""The program that a pip installs is the file of the source, and it loads next to nothing."""

import ast
import os
import subprocess
import sys
from importlib.metadata import distribution
from pathlib import Path
from typing import Final

import pytest
from harness.sender import PATIENCE
from hook.support import HOOK, INTERPRETERS

from mailbell import hook

SOURCE: Final = Path(__file__).parents[2] / "src" / "mailbell" / "hook.py"
SYSTEM: Final = Path("/usr/bin/python3")
# What every interpreter has loaded when it starts, and what Debian's has built in.
MAY_IMPORT: Final = {"sys", "time", "posix", "_signal", "_socket"}


def test_pip_installed_it_as_it_is() -> None:
    """With the system's interpreter in its first line, not with that of the environment."""
    installed = distribution("mailbell")
    assert (installed.read_text("INSTALLER") or "").strip() == "pip"
    files = [Path(str(file.locate())).resolve() for file in installed.files or ()]
    program = Path(HOOK).resolve()
    assert program in files  # so that it is also removed again
    assert program.read_bytes() == SOURCE.read_bytes() == Path(hook.__file__).read_bytes()
    assert program.read_bytes().startswith(b"#!/usr/bin/python3 -ISXutf8\n")
    assert os.access(HOOK, os.X_OK)


def test_its_source_imports_only_what_costs_nothing() -> None:
    tree = ast.parse(SOURCE.read_text(), feature_version=(3, 9))
    imported = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imported |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module != "collections.abc":
            imported.add(node.module or "")
    assert imported == MAY_IMPORT


def loaded(python: Path, *words: str | Path) -> set[str]:
    """Return the names of the modules that an interpreter imports for a program."""
    done = subprocess.run(
        [python, "-X", "importtime", "-ISXutf8", *words],
        stdin=subprocess.DEVNULL, capture_output=True, check=False, text=True, env={},
        timeout=PATIENCE,
    )  # fmt: skip
    assert done.returncode == (75 if "--" in words else 0)
    lines = [line for line in done.stderr.splitlines() if line.startswith("import time:")]
    return {line.rpartition("|")[2].strip() for line in lines[1:]}


@pytest.mark.parametrize("python", INTERPRETERS.values(), ids=INTERPRETERS)
def test_it_loads_one_module_more_than_the_bare_interpreter(python: Path) -> None:
    bare = loaded(python, "-c", "pass")
    assert len(bare) > 5
    for words in (["alice"], ["--unless-spam", "alice"], ["--login"], ["alice", "--", "/nowhere"]):
        # An interpreter that is linked in another way loads _socket from a file of its own.
        assert loaded(python, HOOK, *words) - bare <= {"_socket", "posix", "time", "_signal"}


@pytest.mark.skipif(not SYSTEM.exists(), reason="there is no /usr/bin/python3")
def test_the_systems_interpreter_has_them_built_in() -> None:
    code = "import sys; print(*sys.builtin_module_names)"
    done = subprocess.run([SYSTEM, "-ISc", code], check=True, capture_output=True, text=True)
    assert set(done.stdout.split()) >= MAY_IMPORT


def test_it_can_be_read_as_a_module() -> None:
    """For the tests, and without any effect."""
    code = "import mailbell.hook"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
    assert (done.stdout, done.stderr) == (b"", b"")
