"""The programs of examples/ run unchanged: each gets the notifications of a real daemon."""

import fcntl
import os
import re
import shutil
import socket
import subprocess
import sys
import termios
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Final

import pytest
from harness.daemon import PATIENCE, Daemon, configuration, ring, started, until

from mailbell.core.notification import Cause, Cursor, Notification, Transport
from mailbell.interfaces.listener import LISTENER_SERVICE, Subscribe, SubscribeReply
from mailbell.varlink import encode_reply, parse_call_untrusted

ROOT: Final = Path(__file__).parents[2]
EXAMPLES: Final = ROOT / "examples" / "subscribe"
PYTHON: Final = ["python_blocking.py", "python_trio.py", "python_asyncio.py"]
RUNG: Final = 5
MORE: Final = """
[coalesce]
interval = "10ms"
[[account]]
name = "work"
sources = ["127.0.0.2"]
[[account]]
name = "private@example.org"
sources = ["127.0.0.3"]
"""
COMPILER: Final = shutil.which("gcc")

# Compiler options for the attacks on the C program: the first byte out of bounds ends it.
SANITIZED: Final = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-g")

Process = subprocess.Popen[str]


def compiled(directory: Path, *options: str) -> str:
    if COMPILER is None:
        pytest.skip("gcc is not installed")
    program = str(directory / "subscribe")
    warnings = ["-Wall", "-Wextra", "-Wpedantic", "-Werror"]
    source = str(EXAMPLES / "subscribe.c")
    subprocess.run([COMPILER, *warnings, *options, "-o", program, source], check=True)
    return program


def command(name: str, directory: Path) -> list[str]:
    if name == "subscribe.c":
        return [compiled(directory, "-O2")]
    if name == "shell.sh":
        return ["bash", str(EXAMPLES / name)]
    return [sys.executable, str(EXAMPLES / name)]


@contextmanager
def running(words: Sequence[str], path: Path) -> Iterator[Process]:
    environment = os.environ | {"MAILBELL_SOCKET": str(path), "PYTHON": sys.executable}
    environment.pop("PYTHONUNBUFFERED", None)  # the programs must flush their output themselves
    process = subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    )
    # If the program hangs, this ends every wait for it, and the test fails.
    guard = threading.Timer(PATIENCE, process.kill)
    guard.start()
    with process:
        try:
            yield process
        finally:
            process.kill()
            guard.cancel()
            guard.join()


def line(process: Process) -> str:
    assert process.stdout
    return process.stdout.readline()


def until_subscribed(daemon: Daemon, count: int = 1) -> None:
    until(lambda: daemon.status().subscribers == count, f"{count} subscribers")


@pytest.mark.parametrize("name", [*PYTHON, "shell.sh", "subscribe.c"])
def test_it_is_told_of_each_notification_and_ends(name: str, tmp_path: Path) -> None:
    words = [*command(name, tmp_path), str(RUNG)]
    cause = ": network" if name in PYTHON else ""
    with (
        started(tmp_path, configuration(tmp_path, more=MORE)) as daemon,
        running(words, daemon.path) as process,
    ):
        until_subscribed(daemon)
        for number in range(RUNG):
            last, account = ((2, "work"), (3, "private@example.org"))[number % 2]
            ring(daemon.endpoint(), source=f"127.0.0.{last}")
            assert line(process) == f"{account}{cause}\n"
        # It ended by itself, and left nothing behind.
        assert process.communicate(timeout=PATIENCE) == ("", "")
        assert process.returncode == 0
        until_subscribed(daemon, 0)


@pytest.mark.parametrize("name", ["python_asyncio.py", "shell.sh", "subscribe.c"])
def test_what_does_not_reconnect_ends_with_the_daemon(name: str, tmp_path: Path) -> None:
    with started(tmp_path) as daemon, running(command(name, tmp_path), daemon.path) as process:
        until_subscribed(daemon)
        daemon.stop()
        assert process.wait(PATIENCE) > 0


@pytest.mark.parametrize("name", [*PYTHON, "shell.sh", "subscribe.c"])
def test_without_a_daemon_it_fails_at_once(name: str, tmp_path: Path) -> None:
    with running(command(name, tmp_path), tmp_path / "nobody") as process:
        output, errors = process.communicate(timeout=PATIENCE)
        assert process.returncode > 0
        assert output == ""
        assert errors


def test_every_example_is_in_the_document_and_is_run() -> None:
    files = {path.name for path in EXAMPLES.iterdir() if path.is_file()}
    assert files == {*PYTHON, "shell.sh", "subscribe.c"}
    text = (ROOT / "docs" / "embedding.md").read_text()
    assert {name for name in files if f"`examples/subscribe/{name}`" not in text} == set()
    assert f"{(EXAMPLES / 'subscribe.c').read_text().count(chr(10))} lines" in text


def test_the_one_in_c_is_small_and_needs_nothing() -> None:
    text = (EXAMPLES / "subscribe.c").read_text()
    assert text.count("\n") < 100
    included = {row.split()[1] for row in text.splitlines() if row.startswith("#include")}
    assert included == {
        *("<stdio.h>", "<stdlib.h>", "<string.h>", "<unistd.h>"),
        *("<sys/socket.h>", "<sys/un.h>"),
    }


def replies(*accounts: str | None) -> bytes:
    """The replies of the daemon, one for each account; None: the first of a subscription."""
    told = [
        "null" if name is None else f'{{"account":"{name}","cause":"network","count":1}}'
        for name in accounts
    ]
    return b"".join(
        b'{"parameters":{"cursor":{"epoch":"e","sequence":1},"notification":%b},"continues":true}\0'
        % one.encode()
        for one in told
    )


FILL: Final = 4096 - len(replies(""))

STREAMS: Final = {
    "nothing": ([b""], "", "the daemon is gone"),
    "all at once": ([replies(None, "a", "b")], "a\nb\n", "the daemon is gone"),
    "byte by byte": (
        [replies(None, "a", "b")[n : n + 1] for n in range(len(replies(None, "a", "b")))],
        "a\nb\n",
        "the daemon is gone",
    ),
    "the longest that fits": (
        [replies("x" * FILL, "b")],
        "x" * FILL + "\nb\n",
        "the daemon is gone",
    ),
    "one byte too long": ([replies("x" * (FILL + 1))], "", "a reply that is too long"),
    "too long in two parts": ([b"x" * 4000, b"x" * 4000], "", "a reply that is too long"),
    "no end": ([b"x" * 100_000], "", "a reply that is too long"),
    "a name that is not one": ([replies("a\x1b[2J", "b\\u0000c")], "a\nb\n", "the daemon is gone"),
    "cut in a name": ([b'{"account":"', b"\0" + replies("b")], "\nb\n", "the daemon is gone"),
    "refused": (
        [b'{"parameters":{"limit":1},"error":"org.mailbell.Listener.TooManySubscribers"}\0'],
        "",
        "the daemon refused",
    ),
}


@pytest.fixture(scope="module")
def sanitized(tmp_path_factory: pytest.TempPathFactory) -> str:
    return compiled(tmp_path_factory.mktemp("sanitized"), *SANITIZED)


def _is_read(connection: socket.socket) -> bool:
    """Whether the other end has read all bytes. For stream sockets, TIOCOUTQ counts the unread."""
    unread = fcntl.ioctl(connection, termios.TIOCOUTQ, bytes(4))
    return int.from_bytes(unread, sys.byteorder) == 0


@contextmanager
def sending(path: Path, chunks: Sequence[bytes]) -> Iterator[bytearray]:
    """A daemon that waits for one call, sends these chunks and hangs up; yields the call."""
    called = bytearray()
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        listening.listen()
        listening.settimeout(PATIENCE)

        def play() -> None:
            connection, _ = listening.accept()
            with connection, suppress(OSError):  # the program may have ended early
                while not called.endswith(b"\0"):
                    called.extend(connection.recv(1))
                for chunk in chunks:
                    connection.sendall(chunk)
                    # The program must not read the next chunk together with this one.
                    until(partial(_is_read, connection), "reading")

        thread = threading.Thread(target=play)
        thread.start()
        yield called
        thread.join()


@pytest.mark.parametrize("name", STREAMS)
def test_whatever_comes_the_one_in_c_stays_in_its_bounds(
    name: str, tmp_path: Path, sanitized: str
) -> None:
    chunks, output, complaint = STREAMS[name]
    path = tmp_path / "s"
    with sending(path, chunks) as called, running([sanitized], path) as process:
        assert process.communicate(timeout=PATIENCE) == (output, f"subscribe: {complaint}\n")
        assert process.returncode == 69
    assert (
        LISTENER_SERVICE.decode_untrusted(parse_call_untrusted(bytes(called[:-1]))) == Subscribe()
    )


def test_a_path_that_is_too_long_overwrites_nothing(tmp_path: Path, sanitized: str) -> None:
    with running([sanitized], tmp_path / ("x" * 200)) as process:
        assert process.communicate(timeout=PATIENCE) == ("", "subscribe: no daemon\n")


def test_no_reply_is_longer_than_the_document_says() -> None:
    cursor = Cursor("f" * 16, 2**63 - 1)
    source = "2001:db8:aaaa:bbbb:cccc:dddd:eeee:ffff"
    longest = Notification(
        "n" * 64, Cause.NETWORK, 2**63 - 1, Transport.UDP, source, time=2**63 - 1
    )
    reply = encode_reply(SubscribeReply(cursor, longest), continues=True)
    text = (ROOT / "docs" / "embedding.md").read_text()
    (limit,) = re.findall(r"a reply to `Subscribe` in less than (\d+) bytes", text)
    assert len(reply) < int(limit)
    # The C program relies on this.
    assert b" " not in reply
    assert reply.count(b'"account":"') == 1
    assert b'"account"' not in encode_reply(SubscribeReply(cursor), continues=True)
