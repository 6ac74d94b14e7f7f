"""One life of a daemon under a supervisor: from its start to its end."""

import os
import select
import signal
import socket
import sys
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from harness.watch import DOORS

from torture.faults.launching import Launch, launch
from torture.faults.unotify import Fault, Supervisor

__all__ = ["LOOK", "PATIENCE", "Door", "Life", "begin", "wait_for"]

PATIENCE: Final = 20.0
"""Seconds until something counts as not done: a bound for a machine that is busy."""
LOOK: Final = 0.005
"""Seconds between two looks."""


@dataclass(frozen=True, slots=True)
class Door:
    """How a daemon is started.

    Attributes:
        program: its name, a key of `harness.watch.DOORS`.
        configuration: its file, in the folder of all its files.
        sockets: what a service manager passes: pairs of a name and a socket.
        view: what the interpreter runs through, as in `unshare ...`; its first word is a path.
        command: what the interpreter runs instead of the daemon.
    """

    program: str
    configuration: Path
    sockets: Sequence[tuple[str, socket.socket]] = ()
    view: Sequence[str] = ()
    command: Sequence[str] = ()

    @property
    def words(self) -> tuple[str, ...]:
        """The whole command."""
        own = self.command or ("-m", DOORS[self.program])
        return (*self.view, sys.executable, *own, "--config", str(self.configuration))


def wait_for(done: Callable[[], object]) -> bool:
    """Check again and again until a condition holds, for `PATIENCE` at most.

    Args:
        done: tells whether it holds.

    Returns:
        Whether it holds.
    """
    end = time.monotonic() + PATIENCE
    while not done():
        if time.monotonic() > end:
            return False
        # What is waited for happens in another process, which cannot say so.
        select.select([], [], [], LOOK)
    return True


class Life:
    """A process of a daemon.

    Args:
        pid: its number, a child of this process.
        supervisor: answers its calls.
        log: the file with its output.
        notify: where the service manager is told.
    """

    def __init__(self, pid: int, supervisor: Supervisor, log: Path, notify: socket.socket) -> None:
        self.pid = pid
        self.supervisor = supervisor
        self._log = log
        self._notify = notify
        self._is_ready = False
        self.code: int | None = None

    def has_ended(self) -> bool:
        """Tell whether it has ended; then `code` is its exit code, negative for a signal."""
        if self.code is None:
            found, status = os.waitpid(self.pid, os.WNOHANG)
            if found:
                self.code = os.waitstatus_to_exitcode(status)
        return self.code is not None

    def is_ready(self) -> bool:
        """Tell whether it has told the service manager that it serves."""
        with suppress(BlockingIOError):
            self._is_ready = self._is_ready or b"READY=1" in self._notify.recv(4096)
        return self._is_ready

    def is_untold(self) -> bool:
        """Tell whether it serves, and has logged that it could not tell the service manager."""
        return any(line.startswith("event=ready_untold ") for line in self.lines())

    def until_ready_or_ended(self) -> bool:
        """Wait until it is ready or has ended; tell whether either came."""
        return wait_for(lambda: self.has_ended() or self.is_ready() or self.is_untold())

    def lines(self) -> list[str]:
        """Return what it has written, line by line."""
        return self._log.read_text("utf-8", "replace").splitlines()

    def stop(self) -> int:
        """End it in order, or else at once; return its exit code, negative for a signal."""
        self.supervisor.set(None)
        for number in (signal.SIGTERM, signal.SIGKILL):
            if not self.has_ended():
                os.kill(self.pid, number)
                wait_for(self.has_ended)
        self.supervisor.join(PATIENCE)
        self._notify.close()
        if self.code is None:
            raise RuntimeError(f"process {self.pid} outlives SIGKILL")
        return self.code


def begin(
    door: Door,
    calls: Collection[str],
    environ: Mapping[str, str] | None = None,
    *,
    fault: Fault | None = None,
    is_watched: bool = False,
) -> Life:
    """Start a daemon; whoever starts it stops it.

    Args:
        door: how it is started.
        calls: the calls that are asked about.
        environ: added to its environment.
        fault: the calls that fail from the first one on; None: none.
        is_watched: whether the opening of its configuration is noticed, and its calls are
            written down.

    Raises:
        OSError: the kernel does not permit it.
    """
    folder = door.configuration.parent
    path = folder / f"{door.program}.notify"
    path.unlink(missing_ok=True)
    notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    notify.bind(str(path))
    path.chmod(0o666)  # the daemon may run as another user
    log = folder / f"{door.program}.log"
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o644)
    try:
        plan = Launch(
            command=door.words,
            environ={**_inherited(), "NOTIFY_SOCKET": str(path), **(environ or {})},
            calls=calls,
            descriptors=[sock.fileno() for _, sock in door.sockets],
            names=[name for name, _ in door.sockets],
            output=output,
            configuration=str(door.configuration) if is_watched else "",
            fault=fault,
        )
        pid, supervisor = launch(plan)
    finally:
        os.close(output)
    return Life(pid, supervisor, log, notify)


def _inherited() -> dict[str, str]:
    """Return the environment without what a service manager's has not: it changes what is made."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
