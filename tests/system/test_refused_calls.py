"""A call that is always refused on a socket that stays readable: no busy loop, and one line.

A security module (SELinux, AppArmor, a seccomp filter) may refuse accept4(2) or recvfrom(2)
of the running daemon, and permit it again.
"""

import errno
import os
import re
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest
from harness.answering import Run, refused
from harness.daemon import configuration
from harness.sender import LINE, PATIENCE

from mailbell.listener._connections import BATCH, DATAGRAM_BATCH
from mailbell.serving.intake import PAUSE
from mailbell.serving.varlink_server import BATCH as LOCAL_BATCH

STATUS: Final = b'{"method":"org.mailbell.Listener.GetStatus"}\0'
PAUSES: Final = 4
NEVER: Final = -1  # no call has this number


@contextmanager
def running(directory: Path, call: str, arguments: dict[int, int | None]) -> Iterator[Run]:
    """Yield a daemon that serves, and a switch that makes one kind of its calls fail."""
    file = directory / "mailbelld.toml"
    file.write_text(configuration(directory, tcp=["127.0.0.1:0"], udp=["127.0.0.1:0"]))
    command = [sys.executable, "-m", "mailbell.cli.mailbelld", "--config", str(file)]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(directory / "notify"))
        (directory / "notify").chmod(0o666)
        environ = {**os.environ, "NOTIFY_SOCKET": str(directory / "notify")}
        with Run(command, environ, [refused(errno.EACCES, call, arguments, NEVER)]) as run:
            assert run.until(manager.fileno()), run.output
            yield run
            run.terminate()
            run.until()
        assert run.code == 0


def reaching(directory: Path, run: Run, where: str) -> socket.socket:
    """Send something that the daemon must take: a connection, or a datagram."""
    if where == "local socket":
        sock = socket.socket(socket.AF_UNIX)
        sock.connect(str(directory / "mailbell.sock"))
        sock.sendall(STATUS)
        return sock
    (port,) = re.findall(rf'on="{where} 127\.0\.0\.1:(\d+)"', run.output.decode())
    sock = socket.socket(type=socket.SOCK_STREAM if where == "tcp" else socket.SOCK_DGRAM)
    sock.settimeout(PATIENCE)
    sock.connect(("127.0.0.1", int(port)))
    sock.send(LINE)
    return sock


@pytest.mark.parametrize("number", [errno.EACCES, errno.EPERM, errno.ECONNABORTED],
                         ids=errno.errorcode.get)  # fmt: skip
@pytest.mark.parametrize(
    ("where", "call", "arguments", "batch", "what"),
    [
        ("tcp", "accept4", {}, BATCH, "accepting"),
        ("local socket", "accept4", {}, LOCAL_BATCH, "accepting"),
        # Only the datagram socket's call has an address to fill in.
        ("udp", "recvfrom", {4: None}, DATAGRAM_BATCH, "receiving"),
    ],
    ids=["tcp", "local", "udp"],
)
def test_it_pauses_says_so_once_and_goes_on(
    tmp_path: Path,
    where: str,
    call: str,
    arguments: dict[int, int | None],
    batch: int,
    what: str,
    number: int,
) -> None:
    with running(tmp_path, call, arguments) as run:
        permitted = run.answers
        run.answers = [refused(number, call, arguments)]
        run.calls.clear()
        began = time.monotonic()
        with reaching(tmp_path, run, where) as sock:
            # The last call begins after so many pauses; on a slow machine it begins later.
            each = batch if number == errno.ECONNABORTED else 1
            run.until_so(lambda: len(run.calls) > PAUSES * each)
            assert time.monotonic() - began >= PAUSES * PAUSE
            run.until_so(lambda: said(run, f"{what}_paused"))
            run.answers = permitted
            run.until_so(lambda: said(run, f"{what}_resumed"))
            if where != "udp":
                assert run.until(sock.fileno())
                assert bool(sock.recv(100)) is (where == "local socket")
            else:
                run.until_so(lambda: said(run, "notification"))
    (paused,) = said(run, f"{what}_paused")
    assert where in paused
    assert f"error={errno.errorcode[number]}" in paused
    assert len(said(run, f"{what}_resumed")) == 1


def said(run: Run, event: str) -> list[str]:
    lines = run.output.decode().splitlines()
    return [line for line in lines if line.startswith(f"event={event} ")]
