"""The programs that ring: mailbell-sender as it is installed, the bare C program, and the hosts."""

import os
import pwd
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.processes import BUILD, PATIENCE, Failed, end, pin
from mailbell.core.errors import TemporaryError
from mailbell.interfaces.sender_status import Status
from mailbell.sender_client import Client

__all__ = ["HOSTS", "Ringer", "Sink", "bare", "black_hole", "mailbell_sender", "sink"]

HOSTS: Final = 0x7F010000
"""Host number N of the benchmark is 127.1.0.0 and N."""


@dataclass
class Ringer:
    """A program that takes lines on a Unix socket.

    Attributes:
        pid: its process.
        path: the socket.
        control: the control socket; None: it has none.
    """

    pid: int
    path: Path
    control: Path | None = None

    def status(self) -> Status:
        """Ask mailbell-sender for its status."""
        if self.control is None:
            raise Failed("this program has no status")
        last = time.monotonic() + PATIENCE
        while True:
            try:
                with Client(str(self.control)) as client:
                    return client.status()
            except TemporaryError:  # a user may not ask often
                if time.monotonic() > last:
                    raise
                time.sleep(0.2)

    def connect(self) -> socket.socket:
        """Return a connection that lines can be written to."""
        sock = socket.socket(socket.AF_UNIX)
        sock.settimeout(PATIENCE)
        sock.connect(str(self.path))
        return sock


@dataclass
class Sink:
    """The hosts that answer.

    Attributes:
        port: of every host.
    """

    port: int
    _process: "subprocess.Popen[str]"

    def count(self) -> int:
        """Return how many lines they got so far.

        Raises:
            Failed: a connection brought anything else.
        """
        self._process.send_signal(signal.SIGUSR1)
        assert self._process.stdout is not None  # noqa: S101 - for mypy
        lines, others = map(int, self._process.stdout.readline().split())
        if others:
            raise Failed(f"{others} connections brought no line")
        return lines

    def wait_for(self, lines: int) -> None:
        """Wait until they got so many lines."""
        last = time.monotonic() + PATIENCE
        while (count := self.count()) < lines:
            if time.monotonic() > last:
                raise Failed(f"of {lines} notifications {count} arrived")
            time.sleep(0.01)

    def finish(self) -> list[tuple[int, int]]:
        """End the hosts; return when each line came, in ns, and to which host number."""
        self._process.terminate()
        output, _ = self._process.communicate(timeout=PATIENCE)
        records = (map(int, line.split()) for line in output.splitlines())
        return [(when, address - HOSTS) for when, address in records]


@contextmanager
def sink(core: int | None) -> Iterator[Sink]:
    """Run the hosts until the end of the block.

    Args:
        core: CPU to run on; None: any.
    """
    with subprocess.Popen([BUILD / "sink"], stdout=subprocess.PIPE, text=True) as process:
        try:
            pin(process.pid, core)
            assert process.stdout is not None  # noqa: S101 - for mypy
            yield Sink(int(process.stdout.readline()), process)
        finally:
            process.kill()


@contextmanager
def black_hole() -> Iterator[int]:
    """Make every loopback address a host that never answers, on one port.

    Its queue of connections is full, so the kernel drops each further SYN.

    Yields:
        The port.
    """
    with ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"lo\0")
        listener.bind(("", 0))
        listener.listen(0)
        port: int = listener.getsockname()[1]
        for _ in range(8):
            filler = stack.enter_context(socket.socket())
            filler.settimeout(0.2)
            try:
                filler.connect(("127.0.0.1", port))
            except TimeoutError:
                break
        yield port


@contextmanager
def bare(directory: Path, port: int, core: int | None) -> Iterator[Ringer]:
    """Run the C program until the end of the block.

    Args:
        directory: for its socket.
        port: of the hosts.
        core: CPU to run on; None: any.
    """
    path = directory / "bare"
    words = [str(BUILD / "ring"), str(path), str(port)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        try:
            pin(process.pid, core)
            if process.stdout is None or process.stdout.readline() != "ready\n":
                raise Failed("bench/build/ring does not start")
            yield Ringer(process.pid, path)
        finally:
            process.kill()


@contextmanager
def mailbell_sender(
    directory: Path,
    more: str,
    core: int | None,
    trusted: Sequence[str] = (),
    through: Sequence[str] = (),
) -> Iterator[Ringer]:
    """Run the installed mailbell-sender until the end of the block, locked in.

    Args:
        directory: for its files only; other users may pass through it.
        more: its configuration beside the sockets and the store: TOML.
        core: CPU to run on from its start; None: any.
        trusted: who may ring for all accounts, beside this user.
        through: a command prefix such as `nsenter`; it executes the command after it.
    """
    book = directory / "book"
    book.mkdir(mode=0o700)
    if os.geteuid() == 0:
        nobody = pwd.getpwnam("nobody")
        os.chown(book, nobody.pw_uid, nobody.pw_gid)
    file, log = directory / "sender.toml", directory / "sender.log"
    file.write_text(f"""\
[listen]
hook = "{directory}/hook"
control = "{directory}/control"
user = "nobody"
group = ""
trusted = {[pwd.getpwuid(os.geteuid()).pw_name, *trusted]}
[store]
url = "sqlite://{book}/state.db"
{more}""")
    command = [
        *through, sys.executable, "-m", "mailbell.cli.mailbell_sender", "--config", str(file)
    ]  # fmt: skip
    notify_path = directory / "sender.notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify, log.open("wb") as stderr:
        notify.bind(str(notify_path))
        environ = {**os.environ, "NOTIFY_SOCKET": str(notify_path)}
        process = subprocess.Popen(command, env=environ, stdin=subprocess.DEVNULL, stderr=stderr)
        try:
            pin(process.pid, core)
            if not _is_ready(notify, process):
                raise Failed(f"mailbell-sender does not start: {log.read_text().strip()}")
            yield Ringer(process.pid, directory / "hook", directory / "control")
        finally:
            end(process)


def _is_ready(notify: socket.socket, process: "subprocess.Popen[bytes]") -> bool:
    ended = os.pidfd_open(process.pid)
    try:
        readable, _, _ = select.select([notify.fileno(), ended], [], [], PATIENCE)
        return notify.fileno() in readable and b"READY=1" in notify.recv(4096)
    finally:
        os.close(ended)
