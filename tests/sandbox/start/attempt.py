"""One attempt to start a daemon, with witnesses around it.

The witnesses are a service manager that waits for news, and a mail server whose notification is
already in the listening socket that the daemon gets. They know whether any connection was
served.
"""

import os
import socket
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final

from harness.answering import Answer, Made, Run
from harness.daemon import LINE, PATIENCE, configuration
from harness.ringer import settings
from sandbox.start.surroundings import Surrounding

__all__ = ["MAILBELLD", "SENDER", "Attempt", "Program", "attempt"]


@dataclass(frozen=True)
class Program:
    """A daemon that can be started.

    Attributes:
        name: of the program, and of its configuration file.
        door: the module of its command.
        passed: the name of the socket that a service manager passes to it.
        local: the name of its Unix socket for programs, which it makes itself.
        line: what a mail server says to it.
        configure: returns its configuration for a folder: TOML.
    """

    name: str
    door: str
    passed: str
    local: str
    line: bytes
    configure: Callable[[Path], str]


MAILBELLD: Final = Program(
    "mailbelld", "mailbell.cli.mailbelld", "tcp", "mailbell.sock", LINE,
    lambda directory: configuration(directory, udp=["127.0.0.1:0"]),
)  # fmt: skip
SENDER: Final = Program(
    "mailbell-sender", "mailbell.cli.mailbell_sender", "hook", "control", b"new anna\n",
    lambda directory: settings(
        directory, '[[account]]\nname = "anna"\ntargets = ["127.0.0.1:9"]\n',
        listen='comsat = ["127.0.0.1:0"]',
    ),
)  # fmt: skip


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
    program: Program = MAILBELLD,
) -> Attempt:
    """Start a daemon. If it says that it is ready, let it serve, and end it.

    Args:
        directory: a folder for its files.
        answers: the answers that it gets from the kernel.
        before: the surroundings of the process that becomes the daemon.
        environ: added to its environment.
        passed: whether it gets the socket with the notification; else it makes all its own.
        more: added to its configuration.
        record: whether its calls are recorded.
        program: which daemon.
    """
    file = directory / f"{program.name}.toml"
    file.write_text(program.configure(directory) + more)
    with _manager(directory) as manager, _waiting(program, directory) as (listening, peer):
        run = Run(
            [sys.executable, "-m", program.door, "--config", str(file)],
            {
                **os.environ, "NOTIFY_SOCKET": str(directory / "notify"),
                "LISTEN_FDNAMES": program.passed, **(environ or {}),
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
            not _still_waits(listening, program.line),
            _connectable(directory / program.local),
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
def _waiting(program: Program, directory: Path) -> Iterator[tuple[socket.socket, socket.socket]]:
    """A listening socket, and a mail server that has sent its line to it."""
    with ExitStack() as stack:
        if program is MAILBELLD:
            listening = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        else:
            listening = stack.enter_context(socket.socket(socket.AF_UNIX))
            listening.bind(str(directory / program.passed))
            (directory / program.passed).chmod(0o666)
            listening.listen()
        peer = stack.enter_context(socket.socket(listening.family))
        peer.settimeout(PATIENCE)
        peer.connect(listening.getsockname())
        peer.sendall(program.line)
        peer.shutdown(socket.SHUT_WR)  # a hook says no more, and its connection ends
        yield listening, peer


def _still_waits(listening: socket.socket, line: bytes) -> bool:
    listening.setblocking(False)
    try:
        connection, _ = listening.accept()
    except BlockingIOError:
        return False
    with connection:
        connection.settimeout(PATIENCE)
        return connection.recv(64) == line


def _connectable(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as sock:
        return sock.connect_ex(str(path)) == 0
