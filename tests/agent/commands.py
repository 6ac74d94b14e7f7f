"""Commands for tests: real processes, which end by themselves if no test ends them."""

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from textwrap import dedent

import trio
from harness.sender import PATIENCE

from mailbell.agent._process import Control, Ended, run
from mailbell.agent._session import Running

__all__ = ["Run", "forgotten", "python", "runs", "state"]

_BEGINNING = """
import os, select, signal, sys

def say(text):
    os.write(1, f"{text}\\n".encode())

def hang():
    while True:
        signal.pause()

def on_sigterm(function):
    signal.signal(signal.SIGTERM, lambda *_: function())

def child(prepare):
    '''Fork; go on when the child has prepared itself.'''
    reader, writer = os.pipe()
    if os.fork() == 0:
        signal.alarm(60)
        prepare()
        os.write(writer, b".")
        hang()
    os.read(reader, 1)

def after_the_command(end, prepare=lambda: None):
    '''Fork; some time after the parent has ended, let the child do something and end.'''
    prepared, tell = os.pipe()
    parent, held = os.pipe()
    if os.fork() == 0:
        prepare()
        os.write(tell, b".")
        os.close(held)
        os.read(parent, 1)
        select.select([], [], [], 0.2)
        end()
        os._exit(0)
    os.read(prepared, 1)

signal.alarm(60)
"""


def python(code: str, *arguments: str) -> list[str]:
    """Return a command that runs Python code after the code above."""
    return [sys.executable, "-I", "-S", "-c", _BEGINNING + dedent(code), *arguments]


def state(pid: int | str) -> str:
    """The letter of a process's state (proc_pid_stat(5)); empty if there is no process."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][:1]
    except OSError:
        return ""


def runs(pid: int | str) -> bool:
    """Whether a process exists and has not ended; one that is only not reaped has ended."""
    return state(pid) not in {"", "Z", "X"}


def forgotten() -> set[int]:
    """Return the children of this process that have ended and are not reaped."""
    listed: set[int] = set()
    for thread in Path("/proc/self/task").iterdir():
        listed.update(map(int, (thread / "children").read_text().split()))
    return {pid for pid in listed if state(pid) == "Z"}


class Run:
    """One run, and the lines of its output."""

    def __init__(self) -> None:
        self.control = Control()
        self.lines: list[bytes] = []
        self.reactions: dict[bytes, Callable[[], object]] = {}
        self.stuck: Callable[[], None] = lambda: None

    def on(self, line: bytes, reaction: Callable[[], object]) -> None:
        """Call a function as soon as the command prints this."""
        self.reactions[line] = reaction

    def output(self, line: bytes) -> None:
        self.lines.append(line)
        if line in self.reactions:
            self.reactions[line]()

    async def __call__(
        self,
        argv: Sequence[str],
        environ: Mapping[str, str] | None = None,
        *,
        kill_after: float = PATIENCE,
    ) -> Ended:
        with trio.fail_after(2 * PATIENCE):
            return await run(
                argv,
                os.environ if environ is None else environ,
                output=self.output,
                control=self.control,
                running=Running(),
                kill_after=kill_after,
                stuck=self.stuck,
            )
