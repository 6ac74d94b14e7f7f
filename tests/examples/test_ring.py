"""The programs of examples/ring run unchanged: at the control socket, and at a hook's socket."""

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
from harness.control import Control, controlled
from harness.daemon import PATIENCE, until

from mailbell.sender_client import Client

EXAMPLES: Final = Path(__file__).parents[2] / "examples" / "ring"
HAS_SOCAT: Final = shutil.which("socat") is not None


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "control"


@pytest.fixture
def control(place: Path) -> Iterator[Control]:
    with controlled(place) as it:
        yield it


def ended(place: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        words,
        env=os.environ | {"MAILBELL_SENDER_SOCKET": str(place), "MAILBELL_HOOK": str(place)},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=True,
    )


def blocking(place: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    return ended(place, sys.executable, str(EXAMPLES / "python_blocking.py"), *words)


def test_a_delivery_and_a_login_are_told(control: Control, place: Path) -> None:
    assert blocking(place, "anna").stderr == ""
    assert blocking(place, "anna", "192.0.2.7").stderr == ""
    uid = os.geteuid()
    assert control.desk.asked == [("ring", "anna", uid), ("seen", "anna", "192.0.2.7", uid)]


def test_a_delivery_does_not_fail_without_a_sender(place: Path) -> None:
    said = blocking(place, "anna").stderr
    assert said.startswith(f"not rung: no sender at {place}")


def test_the_rings_are_watched(control: Control, place: Path) -> None:
    program = subprocess.Popen(
        [sys.executable, str(EXAMPLES / "python_trio.py"), "2"],
        env=os.environ | {"MAILBELL_SENDER_SOCKET": str(place)},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        until(lambda: len(control.watchers) == 1, "the watcher")
        for _ in range(2):
            Client(str(place)).ring("anna")
        told, _ = program.communicate(timeout=PATIENCE)
    finally:
        program.kill()
        program.wait()
    assert told == "anna@example.org: 192.0.2.7:79: rung\n" * 2
    assert program.returncode == 0


@pytest.mark.skipif(not HAS_SOCAT, reason="socat is not installed")
def test_a_script_writes_one_line(place: Path) -> None:
    with socket.socket(socket.AF_UNIX) as hook:
        hook.bind(str(place))
        hook.listen()
        hook.settimeout(PATIENCE)
        ended(place, str(EXAMPLES / "shell.sh"), "anna@example.org", "Lists")
        peer, _ = hook.accept()
        with peer:
            assert peer.recv(100) == b"new anna@example.org Lists\n"
            assert peer.recv(100) == b""
    place.unlink()
    ended(place, str(EXAMPLES / "shell.sh"), "anna")  # without a sender it is no failure either
