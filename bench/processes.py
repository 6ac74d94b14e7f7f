"""The programs that are measured, and how they are started.

The daemon is the installed one, unmodified and locked. Only its configuration is unusual:
its limits are so high that it accepts the load. All of them are in force.
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

from mailbell.client import Client
from mailbell.core.errors import TemporaryError
from mailbell.interfaces.listener import Status

__all__ = [
    "Daemon",
    "Failed",
    "Load",
    "build",
    "configuration",
    "cores",
    "end",
    "pin",
    "started",
]

HERE: Final = Path(__file__).resolve().parent
BUILD: Final = HERE / "build"
SOURCE: Final = HERE / "c"
# Seconds after which a step counts as hanging. It is a bound and not measured.
PATIENCE: Final = 60

ACCOUNTS: Final = """\
[[account]]
name = "work"
sources = ["127.0.0.0/8", "2001:db8::/32"]
[[account]]
name = "home"
sources = ["192.0.2.0/24"]
"""


class Failed(Exception):  # noqa: N818 (it is the benchmark that failed)
    """The benchmark cannot be run here, or the programs did not do what it should measure."""


def build() -> None:
    """Compile the C programs that are older than their sources.

    Raises:
        Failed: there is no C compiler, or it refuses a program.
    """
    compiler = os.environ.get("CC", "cc")
    if shutil.which(compiler) is None:
        raise Failed(f"no C compiler ({compiler}); run: apt-get install gcc libc6-dev")
    BUILD.mkdir(exist_ok=True)
    changed = max(path.stat().st_mtime for path in SOURCE.iterdir())
    for source in sorted(SOURCE.glob("*.c")):
        program = BUILD / source.stem
        if not program.exists() or program.stat().st_mtime < changed:
            _compile(compiler, source, program)


def _compile(compiler: str, source: Path, program: Path) -> None:
    # It has another name until it is complete, because another run may build or use it.
    fresh = program.with_name(f"{program.name}.{os.getpid()}")
    flags = ["-O2", "-std=c11", "-Wall", "-Wextra", "-Werror"]
    if subprocess.run([compiler, *flags, "-o", fresh, source], check=False).returncode:
        raise Failed(f"{compiler} does not compile bench/c/{source.name}")
    fresh.replace(program)


@dataclass(frozen=True, slots=True)
class Load:
    """One round of notifications over TCP.

    Attributes:
        count: number of notifications.
        parallel: how many are in flight.
        sources: number of source addresses, each in a network of its own.
        times: how often each source calls in a row.
        refused: whether the listener is to close every connection without reading it.
    """

    count: int
    parallel: int = 64
    sources: int = 200
    times: int = 1
    refused: bool = False

    def run(
        self, host: str, port: int, core: int | None = None, through: Sequence[str] = ()
    ) -> float:
        """Send the load, and wait until the listener has taken all of it.

        Args:
            host: numeric address.
            port: of the listener.
            core: CPU to run on; None: any.
            through: a command prefix such as `nsenter`; it executes the command after it.

        Returns:
            How many seconds it took.

        Raises:
            Failed: a notification was not taken, or was taken though it is to be refused.
        """
        words = [host, port, self.count, self.parallel, self.sources, PATIENCE, self.times]
        command = [*through, str(BUILD / "load"), *map(str, words)]
        errors = subprocess.DEVNULL if self.refused else None
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True) as process:
            pin(process.pid, core)
            output, _ = process.communicate()
        if process.returncode:
            raise Failed(f"bench/build/load ended with exit code {process.returncode}")
        done, failed, reset, nanoseconds = map(int, output.split())
        if (reset if self.refused else done) != self.count:
            ends = f"{done} were taken, {failed} failed, {reset} of them by a reset"
            raise Failed(f"of {self.count} notifications {ends}")
        return nanoseconds / 1e9


def cores() -> tuple[int | None, int | None]:
    """Choose a core for what is measured and another for the load, if there are two."""
    found = sorted(os.sched_getaffinity(0))
    return (found[0], found[1]) if len(found) > 1 else (None, None)


def pin(pid: int, core: int | None) -> None:
    """Keep a process on one core.

    Args:
        pid: a process with one thread and no children yet.
        core: the core; None: change nothing.
    """
    if core is not None:
        os.sched_setaffinity(pid, {core})


def end(process: "subprocess.Popen[Any]") -> None:
    """Ask a process to end, and wait until it has."""
    process.terminate()
    try:
        process.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def configuration(
    directory: Path,
    *,
    tcp: Sequence[str] = ("127.0.0.1:0",),
    udp: Sequence[str] = (),
    allow: Sequence[str] = (),
    deny: Sequence[str] = ("192.0.2.0/24", "2001:db8:ffff::/48"),
    rate: str = "100000/s",
    sources: int = 8192,
    interval: str = "1s",
    accounts: str = ACCOUNTS,
    limits: str = "burst = 1000000",
) -> str:
    """Return a configuration that accepts the load: every check is on, no limit is reached.

    Args:
        directory: the folder of the local socket.
        tcp: endpoints.
        udp: endpoints.
        allow: networks; none: all sources.
        deny: networks.
        rate: the rate of one source.
        sources: how many sources each table remembers.
        interval: at most one wake-up of an account in this time.
        accounts: TOML, with any other tables.
        limits: TOML, the other limits.
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
allow = {_array(allow)}
deny = {_array(deny)}
[limits]
rate = "{rate}"
{limits}
sources = {sources}
total_rate = "1000000/s"
[coalesce]
interval = "{interval}"
{accounts}"""


def _array(values: Sequence[str]) -> str:
    # Each endpoint on its own line, because the daemon reads no line above 1024 bytes.
    return "".join(["[\n", *(f'"{value}",\n' for value in values), "]"])


@dataclass(frozen=True, slots=True)
class Daemon:
    """A daemon that is ready.

    Attributes:
        pid: its process.
        path: the path of its local socket.
        ready_after: seconds from its start until it was ready.
    """

    pid: int
    path: str
    ready_after: float

    def status(self) -> Status:
        """Ask the daemon for its status, over its local socket.

        A flood of the local socket that this user has made may have used up what a user may
        call. Some time after its end there is enough again.
        """
        last = time.monotonic() + PATIENCE
        while True:
            try:
                with Client(self.path) as client:
                    return client.status()
            except TemporaryError:
                if time.monotonic() > last:
                    raise
                time.sleep(0.1)

    def port(self, transport: str, host: str) -> int:
        """Return a port of the daemon.

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
        """Return how the connections ended so far, without outcomes that are zero."""
        return {name: n for name, n in self.status().outcomes.tcp.items() if n}


@contextmanager
def started(
    directory: Path,
    toml: str,
    core: int | None = None,
    python: Sequence[str] = (),
    through: Sequence[str] = (),
) -> Iterator[Daemon]:
    """Run the daemon until the end of the block.

    Args:
        directory: for the daemon's files only; its output goes to `log` there.
        toml: its configuration.
        core: CPU to run on from its start; None: any.
        python: options of the interpreter.
        through: a command prefix such as `nsenter`; it executes the command after it.

    Yields:
        The daemon, ready and locked.
    """
    file, notify_path, log = directory / "config", directory / "notify", directory / "log"
    file.write_text(toml)
    notify_path.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify, log.open("w+b") as stderr:
        notify.bind(str(notify_path))
        began = time.monotonic()
        process = subprocess.Popen(
            [
                *through,
                sys.executable, *python, "-m", "mailbell.cli.mailbelld", "--config", str(file),
            ],
            env={**os.environ, "NOTIFY_SOCKET": str(notify_path)},
            stdin=subprocess.DEVNULL,
            stderr=stderr,
        )  # fmt: skip
        try:
            pin(process.pid, core)
            if not _is_ready(notify, process):
                raise Failed(f"mailbelld does not start: {log.read_text().strip()}")
            ready_after = time.monotonic() - began
            yield Daemon(process.pid, f"{directory}/mailbell.sock", ready_after)
        finally:
            end(process)


def _is_ready(notify: socket.socket, process: "subprocess.Popen[bytes]") -> bool:
    """Wait for READY=1 (sd_notify(3)) or for the end of the process."""
    ended = os.pidfd_open(process.pid)
    try:
        readable, _, _ = select.select([notify.fileno(), ended], [], [], PATIENCE)
        return notify.fileno() in readable and b"READY=1" in notify.recv(4096)
    finally:
        os.close(ended)
