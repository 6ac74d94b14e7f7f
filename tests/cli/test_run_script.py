"""`make run`: the real daemon, locked in, on a free port."""

import errno
import json
import os
import re
import runpy
import signal
import socket
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from harness import child
from harness.libseccomp import libseccomp
from harness.ports import free_port

_SCRIPT = Path(__file__).parents[2] / "scripts" / "run.py"
_BIN = Path(sysconfig.get_path("scripts"))

pytestmark = pytest.mark.skipif(
    not (_BIN / "mailbelld").exists(), reason="the programs are not installed here"
)


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
def script(tmp_path: Path, port: int) -> Iterator["subprocess.Popen[str]"]:
    """The script in a process group of its own, as a terminal has it."""
    process = subprocess.Popen(
        [sys.executable, "-u", str(_SCRIPT), "--port", str(port)],
        env=os.environ | {"TMPDIR": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        process_group=0,
    )
    with process:
        yield process
        process.kill()


def _read_until(process: "subprocess.Popen[str]", word: str) -> str:
    assert process.stdout is not None
    for line in process.stdout:
        if word in line:
            return line
    pytest.fail(f"it ended without {word!r}")


def test_without_ipv6_it_is_loopback_of_ipv4() -> None:
    def without_ipv6() -> object:
        refuse = libseccomp.SyscallFilter(libseccomp.ALLOW)
        ipv6 = libseccomp.Arg(0, libseccomp.EQ, socket.AF_INET6)
        refuse.add_rule(libseccomp.ERRNO(errno.EAFNOSUPPORT), "socket", ipv6)
        refuse.load()
        return runpy.run_path(str(_SCRIPT))["endpoints"](7979)

    ended = child.run(without_ipv6)
    assert (ended.value, ended.error) == (["127.0.0.1:7979"], None)


# Another terminal: another folder, and no variable that names the socket.
_ELSEWHERE: dict[str, Any] = {
    "shell": True, "cwd": "/", "env": {"PATH": os.environ["PATH"]}, "text": True,
}  # fmt: skip


def _as_shown(line: str) -> str:
    return subprocess.check_output(line, timeout=20, **_ELSEWHERE)  # type: ignore[no-any-return]


def _started(line: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(line, stdout=subprocess.PIPE, **_ELSEWHERE)


@pytest.mark.parametrize("terminal", [True, False])
def test_it_prints_what_rings_and_leaves_nothing(
    script: "subprocess.Popen[str]", tmp_path: Path, port: int, terminal: bool
) -> None:
    told = _read_until(script, "mailbelld ")
    if os.geteuid() == 0:
        assert "dropped to nobody" in told
    told = _read_until(script, "ring it")
    assert f"nc -N 127.0.0.1 {port}" in told
    (send,) = re.findall(r"or: (.*? send \S+)", told)
    reach = _read_until(script, "look at it from another terminal")
    (status,) = re.findall(r": (MAILBELL_SOCKET=.* status)   \(or top, watch\)$", reach.rstrip())
    for option in ("", " --udp"):
        _as_shown(send + option)
        assert "default" in _read_until(script, "from 127.0.0.1")
    assert "process" in _as_shown(status)
    daemon = json.loads(_as_shown(status + " --json"))["pid"]
    assert f"process {daemon}" in _as_shown(f"{status.removesuffix('status')}top --once")
    watch = status.removesuffix("status") + "watch --count 1"
    with _started(watch) as watching:
        while json.loads(_as_shown(status + " --json"))["subscribers"] < 2:
            assert watching.poll() is None
        _as_shown(send)
        output, _ = watching.communicate(timeout=20)
        assert "from 127.0.0.1" in output
    # Ctrl-C reaches the whole group; a service manager's signal only the script.
    if terminal:
        os.killpg(script.pid, signal.SIGINT)
    else:
        script.terminate()
    _, err = script.communicate(timeout=20)
    assert (script.returncode, err) == (0, "")
    assert list(tmp_path.iterdir()) == []
    assert not Path(f"/proc/{daemon}").exists()


def test_a_taken_port_ends_it_with_the_daemons_words(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = subprocess.run(
            [sys.executable, str(_SCRIPT), "--port", str(port)],
            env=os.environ | {"TMPDIR": str(tmp_path)},
            capture_output=True,
            text=True,
            check=False,
            timeout=30,
        )
    assert result.returncode == 71
    assert re.fullmatch(r"mailbelld: .*\n", result.stderr)
    assert str(port) in result.stderr
    assert "ring it" not in result.stdout
    assert list(tmp_path.iterdir()) == []
