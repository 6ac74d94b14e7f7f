"""An interpreter that the kernel would kill later is refused before anything is opened.

Each test uses a real process, if this Python can be started in that way.
"""

import ctypes
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Final

import pytest
from harness.daemon import configuration
from harness.sender import PATIENCE

from mailbell._sys import interpreter
from mailbell.core.errors import OperatingSystemError

REFUSED: Final[dict[str, tuple[Mapping[str, str], str]]] = {
    "a prompt": ({"PYTHONINSPECT": "1"}, "CPython's prompt at the end"),
    "a log of the linker": (
        {"LD_DEBUG": "statistics", "LD_DEBUG_OUTPUT": "{}/log"}, "the dynamic linker's log"
    ),
}  # fmt: skip
if sys.version_info >= (3, 12):
    REFUSED["perf"] = ({"PYTHONPERFSUPPORT": "1"}, "CPython's support for perf")
if sys.version_info >= (3, 13):
    REFUSED["perf, without frame pointers"] = (
        {"PYTHON_PERF_JIT_SUPPORT": "1"}, "CPython's support for perf"
    )  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_refused_with_what_to_unset(name: str, tmp_path: Path) -> None:
    environ, said = REFUSED[name]
    file = tmp_path / "mailbelld.toml"
    file.write_text(configuration(tmp_path))
    with subprocess.Popen(
        [sys.executable, "-m", "mailbell.cli.mailbelld", "--config", str(file)],
        env={**os.environ, **{key: text.format(tmp_path) for key, text in environ.items()}},
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        heard = process.communicate(timeout=PATIENCE)[1]
    Path(f"/tmp/perf-{process.pid}.map").unlink(missing_ok=True)  # what perf would read
    line = heard.splitlines()[0]
    assert line.startswith(f"mailbelld: {said}"), heard
    assert "cannot work in the sandbox; unset " in line
    assert not (tmp_path / "mailbell.sock").exists()
    # Who asked for a prompt gets it, with nothing to read; that exits in its own way.
    assert name == "a prompt" or process.returncode == 71


def test_an_ordinary_interpreter_is_fit() -> None:
    interpreter.require_lockable({"LD_DEBUG": "", "LD_DEBUG_OUTPUT": "/nowhere"})


@pytest.mark.parametrize("enabled", [True, False])
def test_a_compiler_at_run_time(monkeypatch: pytest.MonkeyPatch, enabled: bool) -> None:
    """CPython 3.14 can be built with a compiler at run time, and tells whether it is on."""
    monkeypatch.setattr(sys, "_jit", SimpleNamespace(is_enabled=lambda: enabled), raising=False)
    if enabled:
        with pytest.raises(OperatingSystemError, match="unset PYTHON_JIT"):
            interpreter.require_lockable({})
    else:
        interpreter.require_lockable({})


def test_without_the_global_lock_it_does_not_start(tmp_path: Path) -> None:
    """A build with free threads has a `t` in its name, also while it runs with its global lock."""
    file = tmp_path / "mailbelld.toml"
    file.write_text(configuration(tmp_path))
    for door in ("mailbelld", "mailbell_sender"):
        done = subprocess.run(
            [
                sys.executable, "-c",
                f"import sys; sys.abiflags = 't'; from mailbell.cli.{door} import main; main()",
                "--config", str(file) if door == "mailbelld" else "/dev/null",
            ],
            capture_output=True, text=True, check=False, timeout=PATIENCE,
        )  # fmt: skip
        assert done.returncode == 71
        (line,) = done.stderr.splitlines()
        assert line.startswith(f"{door.replace('_', '-')}: CPython without its global lock cannot")
        assert line.endswith("; start it with CPython's usual build")


@pytest.mark.parametrize(("version", "fit"), [(209, False), (210, True), (300, True)])
def test_the_version_of_mimalloc(monkeypatch: pytest.MonkeyPatch, version: int, fit: bool) -> None:
    """tests/sandbox/test_allocators.py tries the real allocator, if it is installed."""
    library = SimpleNamespace(mi_version=lambda: version)
    monkeypatch.setattr(ctypes, "CDLL", lambda _: library)
    if fit:
        interpreter.require_lockable({})
    else:
        with pytest.raises(OperatingSystemError, match="unset LD_PRELOAD"):
            interpreter.require_lockable({})
