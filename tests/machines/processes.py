"""The programs that make a machine: they ask nobody, end with the test run, and have a time limit.

While a run holds a lock, each program that it starts holds it too. So what is made is not touched
by another run before the last of them has ended.
"""

import fcntl
import os
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

__all__ = ["ALONE", "ENDING", "locked", "run"]

ENDING: Final = ("setpriv", "--pdeathsig", "KILL", "--")
"""To be put before a command: the kernel kills it when the test run has ended, however that did."""

ALONE: Final = ("unshare", "--pid", "--fork", "--kill-child", "--mount-proc", "--")
"""To be put before a command that starts others: none of them outlives it, nor do its mounts."""

_held: Final[list[int]] = []


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a lock during the block; wait for it as long as another run works."""
    with open(path, "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"waits for another run, which holds {path}", flush=True)
            fcntl.flock(lock, fcntl.LOCK_EX)
        _held.append(lock.fileno())
        try:
            yield
        finally:
            _held.remove(lock.fileno())


def run(
    *command: str | Path,
    data: bytes = b"",
    check: bool = True,
    seconds: float = 600,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
) -> bytes:
    """Run a program to its end; return what it prints.

    Args:
        command: the program and its arguments.
        data: what it reads; then comes the end of the file.
        check: whether another exit code than 0 is an error.
        seconds: after which it is killed.
        cwd: the folder that it runs in.
        env: its environment.

    Raises:
        RuntimeError: it failed; with its last words.
        subprocess.TimeoutExpired: it took too long.
    """
    done = subprocess.run(
        [*ENDING, *command], input=data, check=False, capture_output=True, timeout=seconds,
        cwd=cwd, env=env or os.environ, pass_fds=_held,
    )  # fmt: skip
    if check and done.returncode:
        said = (done.stderr or done.stdout).decode(errors="replace").strip()
        raise RuntimeError(f"{' '.join(map(str, command))[:200]}: {said[-2000:]}")
    return done.stdout
