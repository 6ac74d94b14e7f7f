"""Runs the programs of the system that make users, load profiles and start services.

They are looked for in the system's folders only, and get no shell, no input and no environment of
the caller. Their time and what is kept of their output are bounded.
"""

import os
import selectors
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Final, NamedTuple

from mailbell.core.errors import OperatingSystemError
from mailbell.core.escape import printable

__all__ = ["PATH", "Ended", "find", "run", "run_or_fail"]

PATH: Final = "/usr/sbin:/usr/bin:/sbin:/bin"
"""Where the system's own programs are: nothing that a person has put into /usr/local."""

_PATIENCE: Final = 60.0  # seconds
_MOST_OUTPUT: Final = 1 << 16  # bytes that are kept; the rest is read and thrown away
_BLOCK: Final = 1 << 14
_MOST_SHOWN: Final = 300  # characters in a message


class Ended(NamedTuple):
    """How a program has ended.

    Attributes:
        code: its exit code; 127: there is no such program; 124: it took too long.
        said: the beginning of what it printed, on both streams.
    """

    code: int
    said: str

    @property
    def why(self) -> str:
        """One line that says why it failed."""
        lines = [line.strip() for line in self.said.splitlines() if line.strip()]
        return printable(lines[-1])[:_MOST_SHOWN] if lines else f"exit code {self.code}"


def find(name: str) -> str | None:
    """Find a program of the system.

    Args:
        name: of the program.

    Returns:
        Its path; None if there is none.
    """
    return shutil.which(name, path=PATH)


def run(
    *words: str, patience: float = _PATIENCE, environ: Mapping[str, str] | None = None
) -> Ended:
    """Run a program to its end.

    Args:
        words: its name or its path, and its arguments.
        patience: seconds; then it is killed.
        environ: variables beside PATH and LC_ALL.

    Returns:
        How it has ended.
    """
    program = find(words[0])
    if program is None:
        return Ended(127, f"there is no program {words[0]}")
    try:
        process = subprocess.Popen(  # noqa: S603 (the words are ours, or names of users that exist)
            [program, *words[1:]], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, cwd="/", start_new_session=True,
            env={"PATH": PATH, "LC_ALL": "C", **(environ or {})},
        )  # fmt: skip
    except OSError as error:
        return Ended(126, f"{program}: {error.strerror}")
    try:
        return _ended(process, patience)
    finally:
        _end(process)


def run_or_fail(*words: str, remedy: str, patience: float = _PATIENCE) -> str:
    """Run a program that must succeed.

    Args:
        words: as for `run`.
        remedy: what to do if it fails.
        patience: as for `run`.

    Returns:
        What it has printed.

    Raises:
        OperatingSystemError: it failed, or there is none.
    """
    done = run(*words, patience=patience)
    if done.code:
        raise OperatingSystemError(f"{words[0]} failed: {done.why}", remedy)
    return done.said


def _ended(process: "subprocess.Popen[bytes]", patience: float) -> Ended:
    """Read what a process prints, until it has ended."""
    assert process.stdout  # noqa: S101 (it is a pipe)
    deadline = time.monotonic() + patience
    kept = bytearray()
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while part := _part(selector, process.stdout.fileno(), deadline):
            kept += part[: _MOST_OUTPUT - len(kept)]
    text = kept.decode(errors="replace")
    with suppress(subprocess.TimeoutExpired):
        return Ended(process.wait(max(deadline - time.monotonic(), 0)), text)
    return Ended(124, f"{text}\nno end within {patience:g} s")


def _part(selector: selectors.BaseSelector, output: int, deadline: float) -> bytes:
    """Return what was printed next; nothing at the end, or when the time is over."""
    if not selector.select(max(deadline - time.monotonic(), 0)):
        return b""
    return os.read(output, _BLOCK)


def _end(process: "subprocess.Popen[bytes]") -> None:
    """End what is left of a program, which is a session of its own."""
    if process.returncode is None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    if process.stdout:
        process.stdout.close()
