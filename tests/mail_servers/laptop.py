"""The user's machine: a real mailbelld on port 79, and `mailbell watch`."""

import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pytest
from harness.daemon import PATIENCE, Daemon, configuration, started, until
from harness.netns import Namespace

__all__ = ["ADDRESSES", "SERVER", "Laptop", "listening"]

SERVER: Final = ("192.0.2.1/24", "2001:db8::1/64")
ADDRESSES: Final = ("192.0.2.2/24", "2001:db8::2/64")

_LIMITS: Final = """
[limits]
rate = "1000000/s"
burst = 1000000
total_rate = "1000000/s"
[coalesce]
interval = "10ms"
"""


@dataclass
class Laptop:
    """A machine that is rung.

    Attributes:
        host: its network.
        daemon: its mailbelld.
        watch: `mailbell watch --json` there.
    """

    host: Namespace
    daemon: Daemon
    watch: "subprocess.Popen[bytes]"
    _held: bytearray = field(default_factory=bytearray)

    def rung(self, patience: float = PATIENCE) -> tuple[dict[str, Any], float]:
        """Wait for the next notification.

        Args:
            patience: in seconds; the test fails after that.

        Returns:
            what `mailbell watch` printed, and when it was read: seconds since 1970.
        """
        told = self._next(patience)
        if told is None:
            pytest.fail(f"nobody rang within {patience:.0f} s; {self.daemon.counted()}")
        return told, time.time()

    def count(self) -> int:
        """Return how many notifications mailbelld has accepted."""
        return self.daemon.counted().get("accepted", 0)

    def forget(self) -> None:
        """Throw away what `mailbell watch` has printed."""
        while self._next(0.0):
            pass

    def _next(self, patience: float) -> dict[str, Any] | None:
        assert self.watch.stdout
        end = time.monotonic() + patience
        while b"\n" not in self._held:
            left = max(0.0, end - time.monotonic())
            if not select.select([self.watch.stdout], [], [], left)[0]:
                return None
            chunk = os.read(self.watch.stdout.fileno(), 65536)
            assert chunk, "mailbell watch ended"
            self._held += chunk
        line, _, rest = bytes(self._held).partition(b"\n")
        self._held[:] = rest
        told: dict[str, Any] = json.loads(line)
        return told


@contextmanager
def listening(folder: Path, host: Namespace) -> Iterator[Laptop]:
    """Run a mailbelld on all addresses of a host until the end of the block."""
    toml = configuration(folder, tcp=["0.0.0.0:79", "[::]:79"], more=_LIMITS)
    with started(folder, toml, command=host.visit) as daemon:
        command = Path(sys.executable).with_name("mailbell")
        watch = subprocess.Popen(
            [command, "watch", "--json", "--socket", daemon.path],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            env={**os.environ, "MAILBELL_DAEMON_USER": "nobody"},
        )  # fmt: skip
        try:
            _await(daemon)
            yield Laptop(host, daemon, watch)
        finally:
            watch.terminate()
            watch.wait(PATIENCE)
            assert watch.stdout
            watch.stdout.close()


def _await(daemon: Daemon) -> None:
    until(lambda: daemon.status().subscribers, "mailbell watch's subscription")
