"""Fixtures for the tests of the command line: real processes, and a scripted daemon."""

import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cli.support import FakeDaemon, Run, Start, words

import mailbell

_SOURCES = str(Path(mailbell.__file__).parents[1])


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    return {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": _SOURCES,
        "PYTHONWARNINGS": "error",
        "TZ": "UTC",
        "MAILBELL_SOCKET": str(tmp_path / "s"),
    }


@pytest.fixture
def open_path() -> Iterator[Path]:
    """Yield a folder that every user may enter, as those below `tmp_path` are not."""
    with tempfile.TemporaryDirectory(prefix="mailbell-", dir="/tmp") as name:
        path = Path(name)
        path.chmod(0o755)
        yield path


@pytest.fixture
def run(environment: dict[str, str]) -> Run:
    """Runs a program to its end: `run("mailbell", "status")`."""

    def run(*line: str, **more: Any) -> "subprocess.CompletedProcess[str]":
        more = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "timeout": 30} | more
        result: subprocess.CompletedProcess[str] = subprocess.run(
            words(*line), text=True, check=False, env=environment, **more
        )
        return result

    return run


@pytest.fixture
def start(environment: dict[str, str]) -> Iterator[Start]:
    """Starts a program, and ends it after the test."""
    started: list[subprocess.Popen[str]] = []

    def start(*line: str, **more: Any) -> "subprocess.Popen[str]":
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        process = subprocess.Popen(words(*line), text=True, env=environment, **(pipes | more))
        started.append(process)
        return process

    yield start
    for process in started:
        with process:  # closes its pipes and waits
            process.kill()


@pytest.fixture
def daemon(environment: dict[str, str]) -> Iterator[FakeDaemon]:
    fake = FakeDaemon(environment["MAILBELL_SOCKET"])
    yield fake
    fake.close()
