"""A program that is started again whenever it ends, as a service manager does (Restart=always)."""

import os
import signal
import subprocess
import threading
from collections import Counter
from collections.abc import Callable

__all__ = ["Kept"]


class Kept:
    """Keeps one program running.

    Args:
        start: starts it.
        pause: returns seconds until it is started again (RestartSec=).
        patience: seconds until it is given up if it must end or start.

    Attributes:
        ends: how often it has ended with which status; -9: it was killed.
    """

    def __init__(
        self,
        start: Callable[[], "subprocess.Popen[bytes]"],
        pause: Callable[[], float],
        patience: float = 30.0,
    ) -> None:
        self.ends: Counter[int] = Counter()
        self._start = start
        self._pause = pause
        self._patience = patience
        self._over = threading.Event()
        self._changed = threading.Condition()
        # Its number could belong to another process already; this descriptor cannot.
        self._pidfd: int | None = None
        self._thread = threading.Thread(target=self._keep)
        self._thread.start()

    def kill(self) -> None:
        """Kill the run that goes on, or the next one as soon as it has been started.

        Raises:
            TimeoutError: none has been started.
        """
        self._signal(signal.SIGKILL)

    def close(self) -> None:
        """End the program, in order if it can, and keep it no longer.

        Raises:
            TimeoutError: it does not end.
        """
        self._over.set()
        for number in (signal.SIGTERM, signal.SIGKILL):
            with self._changed:
                if self._pidfd is not None:
                    signal.pidfd_send_signal(self._pidfd, number)
            self._thread.join(self._patience)
            if not self._thread.is_alive():
                return
        raise TimeoutError("a program does not end")

    def _signal(self, number: int) -> None:
        with self._changed:
            if not self._changed.wait_for(lambda: self._pidfd is not None, self._patience):
                raise TimeoutError("a program was not started")
            assert self._pidfd is not None  # noqa: S101  for the type checker
            # It is reaped after this descriptor is closed, so it is there, if only as a zombie.
            signal.pidfd_send_signal(self._pidfd, number)

    def _keep(self) -> None:
        while not self._over.is_set():
            process = self._start()
            self._run(process)
            # The pause that the unit has; other programs run meanwhile.
            self._over.wait(self._pause())

    def _run(self, process: "subprocess.Popen[bytes]") -> None:
        with self._changed:
            self._pidfd = pidfd = os.pidfd_open(process.pid)
            self._changed.notify_all()
            if self._over.is_set():  # it was not there yet when `close` ended it
                signal.pidfd_send_signal(pidfd, signal.SIGTERM)
        os.waitid(os.P_PIDFD, pidfd, os.WEXITED | os.WNOWAIT)
        with self._changed:
            self._pidfd = None
            os.close(pidfd)
        status = process.wait()
        if not self._over.is_set():
            self.ends[status] += 1
