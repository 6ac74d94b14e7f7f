"""A debugger makes the running daemon ask for what its policy forbids.

No hook in the product helps: gdb attaches from outside, as root, and calls
the C library's `syscall` in the daemon's own address space.
"""

import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness.daemon import PATIENCE, Daemon, ring, started, until

# x86-64; the test skips elsewhere.
EXECVE, SOCKET, PTRACE, CLONE, OPEN = 59, 41, 101, 56, 2
AF_PACKET, SOCK_RAW, SIGCHLD = 17, 3, 17
EACCES = 13

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="an undumpable process is traced by root only"),
    pytest.mark.skipif(shutil.which("gdb") is None, reason="gdb is not installed"),
    pytest.mark.skipif(os.uname().machine != "x86_64", reason="the call numbers are x86-64's"),
]


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    with started(tmp_path) as running:
        yield running


def call(daemon: Daemon, number: int, *arguments: object) -> str:
    """Make the daemon call the kernel; return what gdb says."""
    listed = ", ".join(map(str, (number, *arguments)))
    done = subprocess.run(
        [
            "gdb", "-nx", "-batch", "-p", str(daemon.pid),
            "-ex", f"print ((long (*)(long, ...)) syscall)({listed})",
            "-ex", "print *((int *(*)(void)) __errno_location)()",
        ],
        check=False, capture_output=True, text=True, timeout=PATIENCE,
    )  # fmt: skip
    return done.stdout + done.stderr


@pytest.mark.parametrize(
    ("number", "arguments"),
    [
        pytest.param(EXECVE, (0, 0, 0), id="execve"),
        pytest.param(SOCKET, (AF_PACKET, SOCK_RAW, 0), id="socket(AF_PACKET)"),
        pytest.param(PTRACE, (0, 0, 0, 0), id="ptrace"),
        pytest.param(CLONE, (SIGCHLD, 0, 0, 0, 0), id="clone"),
    ],
)
def test_a_forbidden_call_kills_the_whole_process(
    daemon: Daemon, number: int, arguments: tuple[int, ...]
) -> None:
    said = call(daemon, number, *arguments)
    assert "SIGSYS" in said, said
    assert daemon.process.wait(PATIENCE) == -signal.SIGSYS


def test_opening_a_file_is_refused_and_the_daemon_lives(daemon: Daemon) -> None:
    said = call(daemon, OPEN, '"/etc/passwd"', 0)
    assert re.search(r"\$1 = -1\b", said), said
    assert re.search(rf"\$2 = {EACCES}\b", said), said
    ring(daemon.endpoint())
    until(lambda: daemon.counted() == {"accepted": 1})
