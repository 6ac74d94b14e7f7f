"""A program of mailbell as a process: started, ended in order, started again."""

import os
import select
import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

__all__ = ["Broken", "Program"]

# Seconds after which a start or an end counts as hanging. It is a bound, and not measured.
PATIENCE: Final = 60.0


class Broken(Exception):  # noqa: N818 (it is the program that is broken)
    """A program does not start, or does not end in order."""


class Program:
    """One program, which is restarted.

    Args:
        name: in the tables.
        words: the command.
        folder: for its log and its notify socket.
        environ: added to its environment.
        ready: a word in its log that says that it is ready; None: it tells the service manager.

    Attributes:
        name: as given.
        life: how often it was started.
        began: when it was started last, monotonic time in seconds.
        log: its log, of all lives.
    """

    def __init__(
        self,
        name: str,
        words: Sequence[str],
        folder: Path,
        *,
        environ: dict[str, str] | None = None,
        ready: str | None = None,
    ) -> None:
        self.name = name
        self.life = 0
        self.began = 0.0
        self.log = folder / f"{name}.log"
        self._words = words
        self._notify = folder / f"{name}.notify"
        self._environ = environ or {}
        self._ready = ready
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """Its process.

        Raises:
            Broken: it does not run.
        """
        if self._process is None or self._process.poll() is not None:
            code = self._process.returncode if self._process else None
            raise Broken(f"{self.name} does not run (exit status {code}): {self.last_words()}")
        return self._process.pid

    def start(self) -> None:
        """Start it, and wait until it is ready.

        Raises:
            Broken: it ends, or is not ready in time.
        """
        self._notify.unlink(missing_ok=True)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify, self.log.open("ab") as log:
            notify.bind(str(self._notify))
            self._notify.chmod(0o666)  # the program may become another user
            told = {} if self._ready else {"NOTIFY_SOCKET": str(self._notify)}
            begin = log.tell()
            self._process = subprocess.Popen(
                self._words, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                env={**os.environ, **self._environ, **told},
            )  # fmt: skip
            self._await(self._is_written(begin) if self._ready else _is_told(notify))
        self.life += 1
        self.began = time.monotonic()

    def stop(self) -> None:
        """End it in order. To stop it again does nothing.

        Raises:
            Broken: it had ended, does not end in time, or ends with another code than 0.
        """
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        try:
            code = process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise Broken(f"{self.name} does not end after SIGTERM") from None
        if code != 0:
            raise Broken(f"{self.name} ended with {code}: {self.last_words()}")

    def last_words(self) -> str:
        """Return the end of its log."""
        lines = self.log.read_text(errors="replace").splitlines() if self.log.exists() else []
        return lines[-1] if lines else "its log is empty"

    def _is_written(self, begin: int) -> Callable[[], bool]:
        ready = (self._ready or "").encode()

        def is_written() -> bool:
            with self.log.open("rb") as log:
                log.seek(begin)
                return ready in log.read()

        return is_written

    def _await(self, is_ready: Callable[[], bool]) -> None:
        end = time.monotonic() + PATIENCE
        while not is_ready():
            if time.monotonic() > end:
                self._process.kill() if self._process else None
                raise Broken(f"{self.name} is not ready: {self.last_words()}")
            _ = self.pid  # it may have ended
            # A program writes no event that could be waited for if its log says that it is ready.
            time.sleep(0.02)  # another process: only a look tells


def _is_told(notify: socket.socket) -> Callable[[], bool]:
    def is_told() -> bool:
        return bool(select.select([notify], [], [], 0)[0]) and b"READY=1" in notify.recv(4096)

    return is_told
