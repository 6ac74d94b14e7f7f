"""The real daemon in its own process: unmodified, locked in, as an operator would run it.

Readiness comes through the service manager's protocol (sd_notify(3)), the log
through a pipe, everything else through the doors that users have.
"""

import os
import re
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from harness.ordinary import NOBODY
from harness.sender import LINE, PATIENCE, ring
from harness.watch import Watched, watched

from mailbell.client import Client
from mailbell.interfaces.listener import Status

__all__ = [
    "LINE",
    "PATIENCE",
    "Daemon",
    "Running",
    "configuration",
    "launched",
    "ring",
    "started",
    "until",
]


def until(done: Callable[[], object], what: str = "it", patience: float = PATIENCE) -> None:
    """Check again and again until a condition outside of the test's control holds.

    Args:
        done: tells whether it holds.
        what: is waited for, for the message.
        patience: in seconds; the test fails after that.
    """
    end = time.monotonic() + patience
    while not done():
        if time.monotonic() > end:
            pytest.fail(f"{what} did not happen within {patience:.0f} s")
        # The daemon permits a user 100 connections and calls a second; a status needs two.
        select.select([], [], [], 0.02)


# All of 127.0.0.0/8 is one source if it is not listed. With this account, which has the name
# that it would have if none were declared, each of its addresses is a source of its own.
LISTED = """
[[account]]
name = "default"
sources = ["127.0.0.0/8", "::/0"]
"""


def configuration(
    directory: Path,
    *,
    tcp: Sequence[str] = ("127.0.0.1:0", "[::1]:0"),
    udp: Sequence[str] = (),
    more: str = "",
) -> str:
    """Return a configuration for loopback: TOML."""
    return f"""
[listen]
tcp = {list(tcp)}
udp = {list(udp)}
user = "nobody"
[socket]
path = "{directory}/mailbell.sock"
group = ""
{more}
"""


@dataclass
class Running:
    """A process of ours that has said that it is ready."""

    process: "subprocess.Popen[bytes]"
    path: Path
    notify: socket.socket
    log: bytearray = field(default_factory=bytearray)

    @property
    def pid(self) -> int:
        return self.process.pid

    def kernel_says(self) -> dict[str, str]:
        """Return what `/proc/PID/status` says, read from outside."""
        text = Path(f"/proc/{self.pid}/status").read_text()
        pairs = (line.partition(":") for line in text.splitlines())
        return {key: value.strip() for key, _, value in pairs}

    def lines(self) -> list[str]:
        """Return the log so far."""
        assert self.process.stderr
        descriptor = self.process.stderr.fileno()
        while select.select([descriptor], [], [], 0)[0]:
            chunk = os.read(descriptor, 65536)
            if not chunk:
                break
            self.log += chunk
        return self.log.decode().splitlines()

    def until_logged(self, text: str, count: int = 1) -> None:
        until(lambda: sum(text in line for line in self.lines()) >= count, f"log line {text!r}")

    def told(self) -> bytes:
        """Return the next message to the service manager."""
        self.notify.settimeout(PATIENCE)
        return self.notify.recv(4096)

    def stop(self) -> int:
        """End it in order; return its exit status."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise


class Daemon(Running):
    """A mailbelld that has said that it is ready. `path` is its local socket."""

    def status(self) -> Status:
        # Some tests start it as the user nobody, who is not the one who asks.
        with Client(str(self.path), daemon_user=str(NOBODY)) as client:
            return client.status()

    def endpoint(self, transport: str = "tcp", host: str = "127.0.0.1") -> tuple[str, int]:
        """Return where it listens: host and port."""
        for name in self.status().listening:
            found = re.fullmatch(r"(tcp|udp) \[?([^]]+?)]?:(\d+)", name)
            if found and found[1] == transport and found[2] == host:
                return host, int(found[3])
        raise LookupError(f"{transport} {host}")

    def counted(self, transport: str = "tcp") -> dict[str, int]:
        """Return the outcomes that are not zero."""
        return {name: n for name, n in getattr(self.status().outcomes, transport).items() if n}


@contextmanager
def started(
    directory: Path,
    toml: str | None = None,
    *,
    command: Sequence[str] = (),
    environ: dict[str, str] | None = None,
    descriptors: Sequence[int] = (),
    program: Sequence[str] = (),
    patience: float = PATIENCE,
) -> Iterator[Daemon]:
    """Run a mailbelld until the end of the block.

    Args:
        directory: for its files; not used by another daemon at the time.
        toml: its configuration; loopback and ports of the kernel's choice by default.
        command: what to run it through, as in `nsenter ...`.
        environ: added to its environment.
        descriptors: passed on to it.
        program: what the interpreter runs instead; it ends as the daemon. It is not traced:
            it would notice (`harness.traced`).
        patience: seconds until it must be ready.
    """
    file = directory / "mailbelld.toml"
    file.write_text(configuration(directory) if toml is None else toml)
    running = launched(
        watched(), file, command=command, environ=environ, descriptors=descriptors,
        program=program, patience=patience,
    )  # fmt: skip
    with running as (process, notify):
        yield Daemon(process, directory / "mailbell.sock", notify)


@contextmanager
def launched(
    watch: Watched,
    file: Path,
    *,
    command: Sequence[str] = (),
    environ: dict[str, str] | None = None,
    descriptors: Sequence[int] = (),
    program: Sequence[str] = (),
    patience: float = PATIENCE,
) -> Iterator[tuple["subprocess.Popen[bytes]", socket.socket]]:
    """Run a daemon until the end of the block, and wait until it is ready.

    Args:
        watch: which daemon, and how it is watched.
        file: its configuration. The socket of its service manager lies beside it.
        command: as for `started`.
        environ: as for `started`.
        descriptors: as for `started`.
        program: as for `started`.
        patience: as for `started`.
    """
    notify_path = file.parent / f"{file.stem}.notify"
    notify_path.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
        notify.bind(str(notify_path))
        notify_path.chmod(0o666)  # the daemon may run as another user
        process = subprocess.Popen(
            [
                *command, *(() if program else watch.command),
                sys.executable, *(program or watch.program), "--config", str(file),
            ],
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env={
                **os.environ, "NOTIFY_SOCKET": str(notify_path), **watch.environ, **(environ or {}),
            },
            pass_fds=tuple(descriptors),
        )  # fmt: skip
        running = Running(process, file, notify)
        try:
            _await_ready(running, patience)
            yield process, notify
        finally:
            running.stop()
            assert process.stderr
            process.stderr.close()


def _await_ready(daemon: Running, patience: float) -> None:
    end = time.monotonic() + patience
    while time.monotonic() < end:
        if select.select([daemon.notify], [], [], 0.02)[0]:
            assert b"READY=1" in daemon.notify.recv(4096)
            return
        if daemon.process.poll() is not None:
            pytest.fail(f"{daemon.path.stem} ended: {daemon.lines()}")
    pytest.fail(f"{daemon.path.stem} is not ready: {daemon.lines()}")
