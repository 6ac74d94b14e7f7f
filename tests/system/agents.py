"""The agent as people start it, beside a real daemon, with a real command."""

import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from harness.daemon import PATIENCE, Daemon, until
from system.support import program

__all__ = ["FETCH", "PACE", "agent", "log", "runs"]

# Writes when it begins and ends, and how many notifications it is for. It takes a while.
FETCH: Final = """
import os, sys, time
def say(text):
    with open(sys.argv[1], "a") as file:
        file.write(text + "\\n")
say("begin " + os.environ["MAILBELL_COUNT"] + " " + os.environ["MAILBELL_CAUSE"])
time.sleep(float(sys.argv[2]))
say("end")
"""
PACE: Final = ("--no-on-start", "--no-network-up", "--settle=100ms", "--settle-max=300ms")


@contextmanager
def agent(
    daemon: Daemon,
    directory: Path,
    *options: str,
    command: tuple[str, ...] = (),
    through: Sequence[str] = (),
) -> Iterator["subprocess.Popen[str]"]:
    """An agent that listens, until the end of the block.

    Args:
        daemon: that rings it.
        directory: for its files.
        options: of `mailbell run`.
        command: that it runs.
        through: a program that runs the agent, as in `unshare ...`.
    """
    diary = directory / "diary"
    diary.touch()
    words = command or (sys.executable, "-c", FETCH, str(diary), "0.3")
    written = directory / "agent.log"
    with written.open("w") as file:
        process = subprocess.Popen(
            [
                *through, *program("mailbell", "run"), *PACE, *options,
                "--socket", str(daemon.path), "--", *words,
            ],
            stdin=subprocess.DEVNULL, stderr=file, text=True,
        )  # fmt: skip
        try:
            until(lambda: "event=listening" in log(directory), log(directory))
            yield process
        finally:
            if process.poll() is None:
                process.terminate()
                assert process.wait(PATIENCE) == 0, log(directory)


def log(directory: Path) -> str:
    """What the agent of this directory has said so far."""
    return (directory / "agent.log").read_text()


def runs(pid: str) -> bool:
    """Return whether a process still runs. In some containers no process reaps the ended ones."""
    status = Path(f"/proc/{pid}/status")
    try:
        return "State:\tZ" not in status.read_text()
    except OSError:  # it has ended, before this or while its file was open
        return False
