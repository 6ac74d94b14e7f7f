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

from mailbell.client import Client
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
# Seconds until a step counts as hanging: a bound, nothing that is measured.
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
    """The benchmark cannot be run here, or did not do what it is to measure."""


def build() -> None:
    """Compile the C programs: those that are older than what they are made of.

    Raises:
        Failed: there is no C compiler, or it refuses one of them.
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
    # Under a name of its own until it is whole: somebody else may be building, or running it.
    fresh = program.with_name(f"{program.name}.{os.getpid()}")
    flags = ["-O2", "-std=c11", "-Wall", "-Wextra", "-Werror"]
    if subprocess.run([compiler, *flags, "-o", fresh, source], check=False).returncode:
        raise Failed(f"{compiler} does not compile bench/c/{source.name}")
    fresh.replace(program)


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

    def run(
        self, host: str, port: int, core: int | None = None, through: Sequence[str] = ()
    ) -> float:
        """Send it, and wait until the listener has taken all of it.

        Args:
            host: numeric address.
            port: of the listener.
            core: CPU to run on; None: any.
            through: a command that becomes the one it is given, as `nsenter` does.

        Returns:
            Seconds it took.

        Raises:
            Failed: a notification was not taken.
        """
        words = [host, port, self.count, self.parallel, self.sources, PATIENCE]
        command = [*through, str(BUILD / "load"), *map(str, words)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            pin(process.pid, core)
            output, _ = process.communicate()
        if process.returncode:
            raise Failed(f"bench/build/load ended with exit code {process.returncode}")
        done, failed, nanoseconds = map(int, output.split())
        if failed or done != self.count:
            raise Failed(f"of {self.count} notifications {done} were taken, {failed} failed")
        return nanoseconds / 1e9


def cores() -> tuple[int | None, int | None]:
    """Give what is measured one core and what drives it another, where there are two."""
    found = sorted(os.sched_getaffinity(0))
    return (found[0], found[1]) if len(found) > 1 else (None, None)


def pin(pid: int, core: int | None) -> None:
    """Keep a process on one core.

    Args:
        pid: of one thread, before it has children.
        core: None: leave it alone.
    """
    if core is not None:
        os.sched_setaffinity(pid, {core})


def end(process: "subprocess.Popen[Any]") -> None:
    """Tell a process to end, and see that it does."""
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
    """Return a configuration that accepts the load: every check on, no limit reached.

    Args:
        directory: for the local socket.
        tcp: endpoints.
        udp: endpoints.
        allow: networks; none: anyone.
        deny: networks.
        rate: of one source.
        sources: that each table remembers.
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
    # A line each: the daemon reads none of more than 1024 bytes.
    return "".join(["[\n", *(f'"{value}",\n' for value in values), "]"])


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
def started(
    directory: Path,
    toml: str,
    core: int | None = None,
    python: Sequence[str] = (),
    through: Sequence[str] = (),
) -> Iterator[Daemon]:
    """Run the daemon until the end of the block.

    Args:
        directory: for its files, and nobody else's; what it says goes to `log` there.
        toml: its configuration.
        core: CPU to run on, from its start; None: any.
        python: options of the interpreter.
        through: a command that becomes the one it is given, as `nsenter` does.

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
    """Wait for READY=1 (sd_notify(3)), or the end of the process."""
    ended = os.pidfd_open(process.pid)
    try:
        readable, _, _ = select.select([notify.fileno(), ended], [], [], PATIENCE)
        return notify.fileno() in readable and b"READY=1" in notify.recv(4096)
    finally:
        os.close(ended)
