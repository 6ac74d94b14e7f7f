"""The listeners that are compared: each is started, gets a load, and is asked what it used.

Beside the daemon and the C loop these are simple solutions: a handler with Trio or asyncio,
or a process for each connection by socat or xinetd. All do the same with a connection: read,
compare with the line of RFC 4146, count, close. Only the daemon has limits, accounts,
subscribers, a sandbox or a deadline.
"""

import os
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.kernel import Cpu
from bench.processes import BUILD, HERE, PATIENCE, Failed, Load, configuration, end, pin, started
from mailbell.client import Client

__all__ = [
    "HOST",
    "Listener",
    "accept_loop",
    "handler",
    "mailbelld",
    "program",
    "python_loop",
    "socat",
    "xinetd",
]

HOST: Final = "127.0.0.1"
# The limits are off. Everything else is the default, without libwrap and success messages.
_XINETD: Final = """\
service notification
{{
    type = UNLISTED
    socket_type = stream
    protocol = tcp
    bind = {host}
    port = {port}
    wait = no
    user = {user}
    server = {directory}/read_line
    server_args = {directory}/lines {directory}/others
    instances = UNLIMITED
    per_source = UNLIMITED
    cps = 1000000 1
}}
"""


@dataclass
class Listener:
    """A running listener.

    Attributes:
        pids: the processes whose CPU time is its cost.
        port: its port on loopback.
        sent: notifications it was sent so far. It closed all of them without an answer.
        wakeups: returns how often it has woken its subscriber; None: it has no subscriber.
    """

    pids: tuple[int, ...]
    port: int
    sent: int = 0
    wakeups: Callable[[], int] | None = None

    def drive(self, load: Load, core: int | None = None) -> Cpu:
        """Send it a load, and return the cost.

        Args:
            load: one round.
            core: CPU for the load; None: any.
        """
        before = Cpu.settled(*self.pids)
        load.run(HOST, self.port, core)
        self.sent += load.count
        return Cpu.settled(*self.pids) - before


def program(name: str) -> str | None:
    """Find a program of the system. Return None if it is not installed.

    Args:
        name: its name. Programs for root are found too, because all users may run them here.
    """
    return shutil.which(name, path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin")


@contextmanager
def mailbelld(core: int | None = None) -> Iterator[Listener]:
    """Run the locked daemon with one subscriber until the end of the block.

    Args:
        core: CPU to run on; None: any.

    Raises:
        Failed: the daemon does not start, or did not accept each notification.
    """
    with _directory() as directory:
        with (
            started(directory, configuration(directory), core) as daemon,
            Client(daemon.path) as client,
            client.subscribe(),
        ):
            port = daemon.port("tcp", HOST)
            listener = Listener((daemon.pid,), port, wakeups=lambda: daemon.status().wakeups)
            yield listener
            outcomes = daemon.outcomes()
        accepted = outcomes.pop("accepted", 0)
        _check("mailbelld", listener, accepted, sum(outcomes.values()))


def accept_loop(core: int | None = None) -> AbstractContextManager[Listener]:
    """Run the C loop until the end of the block; see `mailbelld`."""
    return _counting("the C loop", [str(BUILD / "accept_loop")], core)


def handler(library: str, core: int | None = None) -> AbstractContextManager[Listener]:
    """Run a Python handler until the end of the block; see `mailbelld`.

    Args:
        library: trio or asyncio.
        core: CPU to run on; None: any.
    """
    file = HERE / "candidates" / f"{library}_handler.py"
    return _counting(library, [sys.executable, str(file)], core)


def python_loop(how: str, core: int | None = None) -> AbstractContextManager[Listener]:
    """Run the C loop's calls in Python until the end of the block; see `mailbelld`.

    Args:
        how: what waits for the next connection: epoll or trio.
        core: CPU to run on; None: any.
    """
    file = HERE / "candidates" / "python_loop.py"
    return _counting(f"the loop with {how}", [sys.executable, str(file), how], core)


def socat(core: int | None = None) -> AbstractContextManager[Listener]:
    """Run socat, which executes a program for each connection; see `mailbelld`."""

    def words(directory: Path, port: int) -> list[str]:
        listen = f"TCP-LISTEN:{port},bind={HOST},reuseaddr,fork,backlog=4096"
        files = f"{directory}/lines {directory}/others"
        return [listen, f"EXEC:{directory}/read_line {files}"]

    return _executing("socat", words, core)


def xinetd(core: int | None = None) -> AbstractContextManager[Listener]:
    """Run xinetd, which executes a program for each connection; see `mailbelld`."""

    def words(directory: Path, port: int) -> list[str]:
        file = directory / "config"
        file.write_text(
            _XINETD.format(host=HOST, port=port, user=os.geteuid(), directory=directory)
        )
        log = "-pidfile", f"{directory}/pid", "-filelog", f"{directory}/log"
        return ["-dontfork", "-f", str(file), *log]

    return _executing("xinetd", words, core)


@contextmanager
def _counting(name: str, command: Sequence[str], core: int | None) -> Iterator[Listener]:
    """Run a program that prints its port first, and its counts at the end."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    if process.stdout is None:
        raise Failed(f"{name} has no output")
    with process.stdout as output:
        try:
            pin(process.pid, core)
            listener = Listener((process.pid,), int(output.readline()))
            yield listener
        finally:
            end(process)
        _check(name, listener, *map(int, output.readline().split()))


@contextmanager
def _executing(
    name: str, words: Callable[[Path, int], list[str]], core: int | None
) -> Iterator[Listener]:
    """Run a program that executes `read_line` for each connection."""
    path = program(name)
    if path is None:
        raise Failed(f"{name} is not installed; run: apt-get install {name}")
    with _directory() as directory:
        counts = directory / "lines", directory / "others"
        for file in counts:
            file.touch()
        (directory / "read_line").symlink_to(BUILD / "read_line")
        port = _free_port()
        with _adopted([path, *words(directory, port)], core) as pids:
            _until_it_listens(name, port)
            listener = Listener(pids, port)
            yield listener
        _check(name, listener, *(file.stat().st_size for file in counts))


@contextmanager
def _adopted(command: Sequence[str], core: int | None) -> Iterator[tuple[int, int]]:
    """Run a program so that every process it starts is waited for."""
    process = subprocess.Popen([str(BUILD / "adopt"), *command], stdout=subprocess.PIPE)
    if process.stdout is None:
        raise Failed("bench/build/adopt has no output")
    with process.stdout as output:
        try:
            pids = process.pid, int(output.readline())
            for pid in pids:
                pin(pid, core)
            yield pids
        finally:
            end(process)


def _until_it_listens(name: str, port: int) -> None:
    """Look for the port in the kernel's list of sockets: a connection would be counted."""
    listening = f":{port:04X} 00000000:0000 0A "  # proc(5), /proc/net/tcp
    last = time.monotonic() + PATIENCE
    while listening not in Path("/proc/net/tcp").read_text():
        if time.monotonic() > last:
            raise Failed(f"{name} does not listen")
        time.sleep(0.01)


def _free_port() -> int:
    """Choose a free port that the kernel does not give to connecting sockets.

    The kernel gives those the ports from 32768 on (ip_local_port_range).
    """
    for _ in range(100):
        port = random.SystemRandom().randrange(10_000, 32_768)
        with socket.socket() as sock:
            try:
                sock.bind((HOST, port))
            except OSError:
                continue
            return port
    raise Failed("a hundred ports are taken")


@contextmanager
def _directory() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="mailbell-") as name:
        directory = Path(name)
        directory.chmod(0o755)  # the daemon drops to a user who must reach its socket
        yield directory


def _check(name: str, listener: Listener, lines: int, others: int) -> None:
    if (lines, others) != (listener.sent, 0):
        raise Failed(
            f"{name} was sent {listener.sent} notifications, "
            f"and took {lines} lines and {others} of something else"
        )
