"""CPython 3.14 executes a file for whoever may write its memory (PEP 768). The daemons do not.

The same user may not: the daemon is undumpable. Root may write; but when the locked daemon gets
to it, it can open no file, so it goes on.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from harness.daemon import Running, ring, started, until
from harness.ordinary import NOBODY, as_nobody
from harness.ringer import ringing, settings

pytestmark = [
    pytest.mark.skipif(
        sys.version_info < (3, 14), reason="remote debugging came with CPython 3.14"
    ),
    pytest.mark.unwatched(reason="what root makes the interpreter do is not what the daemon does"),
]
OFF = {"PYTHON_DISABLE_REMOTE_DEBUG": "1"}


def asked(daemon: Running, script: Path, *command: str) -> "subprocess.CompletedProcess[str]":
    """Ask the daemon's interpreter to execute a file."""
    code = f"import sys; sys.remote_exec({daemon.pid}, {str(script)!r})"
    return subprocess.run(
        [*command, sys.executable, "-c", code],
        capture_output=True, text=True, check=False, timeout=60, cwd="/",
    )  # fmt: skip


@pytest.fixture
def script(open_path: Path) -> Path:
    """It can be read by every user, and would end the daemon with a code of its own."""
    path = open_path / "script.py"
    path.write_text("import os\nos._exit(99)\n")
    return path


@contextmanager
def an_interpreter(environ: dict[str, str]) -> Iterator["subprocess.Popen[str]"]:
    """One that waits for a line, with nothing of ours in it."""
    with subprocess.Popen(
        [sys.executable, "-c", "print(1, flush=True)\nfor line in open(0): print(line)"],
        env={**os.environ, **environ},
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert process.stdout.readline() == "1\n"
        yield process


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may write the memory of the daemon")
def test_root_makes_the_locked_daemon_execute_nothing(open_path: Path, script: Path) -> None:
    with started(open_path) as daemon:
        assert asked(daemon, script).stderr == ""  # the memory is written
        ring(daemon.endpoint())
        until(lambda: daemon.counted() == {"accepted": 1})
        daemon.until_logged("Can't open debugger script")
        assert daemon.stop() == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may write the memory of the daemon")
def test_root_makes_the_locked_sender_execute_nothing(open_path: Path, script: Path) -> None:
    toml = settings(open_path, '[[account]]\nname = "anna"\ntargets = ["127.0.0.1:9"]\n')
    with ringing(open_path, toml) as sender:
        assert asked(sender, script).stderr == ""
        assert sender.ask("Explain", account="anna")["account"] == "anna"
        sender.until_logged("Can't open debugger script")
        assert sender.stop() == 0


def test_the_same_user_writes_nothing(open_path: Path, script: Path, empty_path: Path) -> None:
    command = as_nobody(empty_path) if os.geteuid() == 0 else []
    with started(open_path) as daemon:
        if os.geteuid() == 0:
            assert daemon.kernel_says()["Uid"].split()[0] == str(NOBODY)
        done = asked(daemon, script, *command)
        assert done.returncode != 0
        assert "PermissionError" in done.stderr
        ring(daemon.endpoint())
        until(lambda: daemon.counted() == {"accepted": 1})
        assert daemon.stop() == 0


@pytest.mark.parametrize("environ", [{}, OFF], ids=["on", "off"])
def test_the_variable_of_the_units_turns_it_off(script: Path, environ: dict[str, str]) -> None:
    """The control, too: without the variable, an interpreter that is not locked executes it."""
    code = f"import sys; sys.remote_exec({{}}, {str(script)!r})"
    with an_interpreter(environ) as process:
        done = subprocess.run(
            [sys.executable, "-c", code.format(process.pid)],
            capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip
        assert ("not enabled" in done.stderr) == bool(environ), done.stderr
        process.communicate("line\n", timeout=60)
        assert process.returncode == (0 if environ else 99)
