"""One attempt to start the daemon, with witnesses around it.

The witnesses are a service manager that waits for news, and a mail server whose notification is
already in the listening socket that the daemon gets. They know whether any connection was
served.
"""

import os
import socket
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from harness.answering import Answer, Made, Run
from harness.daemon import LINE, PATIENCE, configuration
from sandbox.start.surroundings import Surrounding

__all__ = ["Attempt", "attempt"]


@dataclass
class Attempt:
    """The result of the attempt.

    Attributes:
        code: the exit status.
        lines: the lines it printed.
        ready: whether it told the service manager that it serves.
        accepted: whether the waiting notification was taken.
        connectable: whether a process listens on the local socket.
        status: `/proc/PID/status` while it served; b"": it never served.
        earlier: the recorded calls it made before it read its configuration.
        calls: the calls after that.
    """

    code: int
    lines: list[str]
    ready: bool
    accepted: bool
    connectable: bool
    status: bytes
    earlier: list[Made] = field(repr=False)
    calls: list[Made] = field(repr=False)


def attempt(
    directory: Path,
    *,
    answers: Sequence[Answer] = (),
    before: Sequence[Surrounding] = (),
    environ: Mapping[str, str] | None = None,
    passed: bool = True,
    more: str = "",
    record: bool = False,
) -> Attempt:
    """Start the daemon. If it says that it is ready, let it serve, and end it.

    Args:
        directory: a folder for its files.
        answers: the answers that it gets from the kernel.
        before: the surroundings of the process that becomes the daemon.
        environ: added to its environment.
        passed: whether it gets the socket with the notification; else it makes all its own.
        more: added to its configuration.
        record: whether its calls are recorded.
    """
    file = directory / "mailbelld.toml"
    file.write_text(configuration(directory, udp=["127.0.0.1:0"], more=more))
    with _manager(directory) as manager, _waiting() as (listening, peer):
        run = Run(
            [sys.executable, "-m", "mailbell.cli.mailbelld", "--config", str(file)],
            {
                **os.environ, "NOTIFY_SOCKET": str(directory / "notify"),
                "LISTEN_FDNAMES": "tcp", **(environ or {}),
            },
            answers, [partial(each, directory) for each in before],
            listening.fileno() if passed else None, str(file) if record else "",
        )  # fmt: skip
        with run:
            # The mail server's connection is closed once the daemon has read the line.
            status = _status_when_serving(run, peer if passed else manager)
        assert run.code is not None
        return Attempt(
            run.code,
            run.output.decode().splitlines(),
            _is_told(manager),
            not _still_waits(listening),
            _connectable(directory / "mailbell.sock"),
            status,
            run.earlier,
            run.calls,
        )


def _status_when_serving(run: Run, witness: socket.socket) -> bytes:
    """Let it run to its end. Return its status while it served, or b"" if it never served."""
    status = b""
    if run.until(witness.fileno()):
        status = Path(f"/proc/{run.pid}/status").read_bytes()
        run.terminate()
    run.until()
    return status


def _is_told(manager: socket.socket) -> bool:
    manager.setblocking(False)
    try:
        return manager.recv(4096).startswith(b"READY=1")
    except BlockingIOError:
        return False


@contextmanager
def _manager(directory: Path) -> Iterator[socket.socket]:
    path = directory / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(path))
        path.chmod(0o666)  # as a service manager's is: the daemon may be another user
        yield manager


@contextmanager
def _waiting() -> Iterator[tuple[socket.socket, socket.socket]]:
    """A listening socket, and a mail server that has sent its line to it."""
    with ExitStack() as stack:
        listening = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        address = listening.getsockname()
        peer = stack.enter_context(socket.create_connection(address, PATIENCE))
        peer.sendall(LINE)
        yield listening, peer


def _still_waits(listening: socket.socket) -> bool:
    listening.setblocking(False)
    try:
        connection, _ = listening.accept()
    except BlockingIOError:
        return False
    with connection:
        connection.settimeout(PATIENCE)
        return connection.recv(64) == LINE


def _connectable(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as sock:
        return sock.connect_ex(str(path)) == 0
