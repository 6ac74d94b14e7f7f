"""What is measured: the programs, and how they are started.

The daemon is the installed one, unmodified and locked in. Only its configuration is
unusual: limits so high that the load is accepted, all of them in force.
"""

import os
import select
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from mailbell._stats import Status
from mailbell.client import Client

__all__ = [
    "Daemon",
    "Failed",
    "Load",
    "accept_loop",
    "build",
    "configuration",
    "started",
]

HERE: Final = Path(__file__).resolve().parent
BUILD: Final = HERE / "build"
PROGRAMS: Final = ("accept_loop", "load")
# Seconds until a step counts as hanging: a bound, nothing that is measured.
PATIENCE: Final = 60


class Failed(Exception):  # noqa: N818 (it is the benchmark that failed)
    """The benchmark cannot be run here, or did not do what it is to measure."""


def build() -> None:
    """Compile the two C programs.

    Raises:
        Failed: there is no C compiler, or it refuses them.
    """
    compiler = os.environ.get("CC", "cc")
    if shutil.which(compiler) is None:
        raise Failed(f"no C compiler ({compiler}); run: apt-get install gcc libc6-dev")
    BUILD.mkdir(exist_ok=True)
    for name in PROGRAMS:
        flags = ["-O2", "-std=c11", "-Wall", "-Wextra", "-Werror"]
        command = [compiler, *flags, "-o", str(BUILD / name), str(HERE / f"{name}.c")]
        if subprocess.run(command, check=False).returncode:
            raise Failed(f"{compiler} does not compile bench/{name}.c")


@dataclass(frozen=True, slots=True)
class Load:
    """One round of notifications over TCP.

    Attributes:
        count: notifications.
        parallel: how many are in flight.
        sources: from how many addresses, each in a network of its own.
    """

    count: int
    parallel: int = 64
    sources: int = 200

    def run(self, host: str, port: int, core: int | None = None) -> float:
        """Send it, and wait until the listener has taken all of it.

        Args:
            host: numeric address.
            port: of the listener.
            core: CPU to run on; None: any.

        Returns:
            Seconds it took.

        Raises:
            Failed: a notification was not taken.
        """
        words = [host, port, self.count, self.parallel, self.sources, PATIENCE]
        command = [str(BUILD / "load"), *map(str, words)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            _pin(process.pid, core)
            output, _ = process.communicate()
        if process.returncode:
            raise Failed(f"bench/build/load ended with exit code {process.returncode}")
        done, failed, nanoseconds = map(int, output.split())
        if failed or done != self.count:
            raise Failed(f"of {self.count} notifications {done} were taken, {failed} failed")
        return nanoseconds / 1e9


def _pin(pid: int, core: int | None) -> None:
    if core is not None:
        os.sched_setaffinity(pid, {core})


def _end(process: "subprocess.Popen[Any]") -> None:
    process.terminate()
    try:
        process.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


@contextmanager
def accept_loop(core: int | None = None) -> Iterator[tuple[int, int]]:
    """Run the C loop until the end of the block.

    Args:
        core: CPU to run on; None: any.

    Yields:
        Its process id and its port.

    Raises:
        Failed: it does not start, or what it received was not the line alone.
    """
    process = subprocess.Popen([str(BUILD / "accept_loop")], stdout=subprocess.PIPE, text=True)
    if process.stdout is None:
        raise Failed("bench/build/accept_loop has no output")
    with process.stdout as output:
        try:
            _pin(process.pid, core)
            yield process.pid, int(output.readline())
        finally:
            _end(process)
        lines, others = map(int, output.readline().split())
    if others:
        raise Failed(f"the C loop took {lines} lines and {others} of something else")


def configuration(
    directory: Path, *, tcp: Sequence[str] = ("127.0.0.1:0",), udp: Sequence[str] = ()
) -> str:
    """Return a configuration that accepts the load: every check on, no limit reached.

    Args:
        directory: for the local socket.
        tcp: endpoints.
        udp: endpoints.
    """
    return f"""\
[listen]
tcp = {list(tcp)}
udp = {list(udp)}
user = "nobody"
[socket]
path = "{directory}/mailbell.sock"
group = ""
[sources]
deny = ["192.0.2.0/24", "2001:db8:ffff::/48"]
[limits]
rate = "100000/s"
burst = 1000000
total_rate = "1000000/s"
[[account]]
name = "work"
sources = ["127.0.0.0/8", "2001:db8::/32"]
[[account]]
name = "home"
sources = ["192.0.2.0/24"]
"""


@dataclass(frozen=True, slots=True)
class Daemon:
    """A daemon that has said it is ready.

    Attributes:
        pid: its process.
        path: of its local socket.
        ready_after: seconds from its start to that.
    """

    pid: int
    path: str
    ready_after: float

    def status(self) -> Status:
        """Ask it for its status, over its local socket."""
        with Client(self.path) as client:
            return client.status()

    def port(self, transport: str, host: str) -> int:
        """Return the port it has there.

        Args:
            transport: tcp or udp.
            host: numeric address, in brackets if it is IPv6.
        """
        for name in self.status().listening:
            where, _, port = name.rpartition(":")
            if where == f"{transport} {host}":
                return int(port)
        raise Failed(f"the daemon does not listen on {transport} {host}")

    def outcomes(self) -> dict[str, int]:
        """Return how the connections ended so far, without the ends that none had."""
        return {name: n for name, n in self.status().outcomes.tcp.items() if n}


@contextmanager
def started(directory: Path, toml: str, core: int | None = None) -> Iterator[Daemon]:
    """Run the daemon until the end of the block.

    Args:
        directory: for its files, and nobody else's.
        toml: its configuration.
        core: CPU to run on, from its start; None: any.

    Yields:
        The daemon, ready and locked in.
    """
    file, notify_path, log = directory / "config", directory / "notify", directory / "log"
    file.write_text(toml)
    notify_path.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify, log.open("w+b") as stderr:
        notify.bind(str(notify_path))
        began = time.monotonic()
        process = subprocess.Popen(
            [sys.executable, "-m", "mailbell.cli.mailbelld", "--config", str(file)],
            env={**os.environ, "NOTIFY_SOCKET": str(notify_path)},
            stdin=subprocess.DEVNULL,
            stderr=stderr,
        )
        try:
            _pin(process.pid, core)
            if not _is_ready(notify, process):
                raise Failed(f"mailbelld does not start: {log.read_text().strip()}")
            ready_after = time.monotonic() - began
            yield Daemon(process.pid, f"{directory}/mailbell.sock", ready_after)
        finally:
            _end(process)


def _is_ready(notify: socket.socket, process: "subprocess.Popen[bytes]") -> bool:
    """Wait for READY=1 (sd_notify(3)), or the end of the process."""
    ended = os.pidfd_open(process.pid)
    try:
        readable, _, _ = select.select([notify.fileno(), ended], [], [], PATIENCE)
        return notify.fileno() in readable and b"READY=1" in notify.recv(4096)
    finally:
        os.close(ended)
