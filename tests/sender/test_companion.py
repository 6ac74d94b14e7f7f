"""A companion is forked, locks itself in, and shares nothing with the sender but one pair."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from agent.commands import forgotten
from harness.daemon import until
from sender.companions import is_gone, started

from mailbell._sys import landlock
from mailbell.core.errors import (
    ConfigurationError,
    MailbellError,
    OperatingSystemError,
    TemporaryError,
)
from mailbell.sender import _companion
from mailbell.sender._companion import Companion, say_ready, start


def begin(run: Callable[[socket.socket], object], *keep: socket.socket) -> Companion:
    return start("mailbell-resolver", run, keep)


def test_what_it_says_arrives(tmp_path: Path) -> None:
    def run(far: socket.socket) -> None:
        say_ready(far)
        far.send(far.recv(100).upper())
        far.recv(1)

    with started(lambda: begin(run)) as companion:
        companion.pair.send(b"hello")
        until(lambda: Path(f"/proc/{companion.pid}").exists())
        companion.pair.settimeout(20)
        assert companion.pair.recv(100) == b"HELLO"


def test_it_has_no_other_descriptor(tmp_path: Path) -> None:
    def run(far: socket.socket) -> None:
        say_ready(far)
        far.send(" ".join(sorted(os.listdir("/proc/self/fd"), key=int)).encode())
        far.recv(1)

    kept, other = socket.socketpair()
    with other, open(tmp_path / "open", "w"), started(lambda: begin(run, kept)) as companion:
        number = kept.fileno()
        companion.pair.settimeout(20)
        *streams, first, second, listing = map(int, companion.pair.recv(1000).split())
        assert streams == [0, 1, 2]
        assert number == -1  # it is the companion's alone
        assert listing > 2
        assert {first, second} - {0, 1, 2}


def test_what_it_keeps_ends_with_it() -> None:
    def run(far: socket.socket) -> None:
        say_ready(far)
        far.recv(1)

    kept, other = socket.socketpair()
    with other, started(lambda: begin(run, kept)) as companion:
        os.kill(companion.pid, signal.SIGKILL)
        other.settimeout(20)
        assert other.recv(1) == b""


def ends(_: socket.socket) -> None:
    """A companion that returns before it is ready."""


def fails(_: socket.socket) -> None:
    raise OperatingSystemError("no room", "make some")


def has_a_bug(_: socket.socket) -> None:
    raise IndexError("list index out of range")


def says_something_else(far: socket.socket) -> None:
    far.send(b"nearly")


@pytest.fixture(params=[signal.SIG_DFL, signal.SIG_IGN], ids=["default", "ignored"])
def sigchld(request: pytest.FixtureRequest) -> Iterator[None]:
    """Whether the kernel reaps children itself, as in the sender, or keeps their numbers."""
    before = signal.signal(signal.SIGCHLD, request.param)
    yield
    signal.signal(signal.SIGCHLD, before)


@pytest.mark.usefixtures("sigchld")
@pytest.mark.parametrize(
    ("run", "message"),
    [
        (ends, "it ended"),
        (fails, "no room; make some"),
        (has_a_bug, "list index out of range"),
        (says_something_else, "nearly"),
    ],
)
def test_one_that_does_not_become_ready_stops_the_start(
    run: Callable[[socket.socket], object], message: str
) -> None:
    ended = forgotten()
    with pytest.raises(OperatingSystemError) as raised, started(lambda: begin(run)):
        pass
    assert forgotten() <= ended, "it is reaped"
    assert message in str(raised.value)
    assert "mailbell-resolver cannot start" in str(raised.value)


@pytest.mark.parametrize("kind", [ConfigurationError, TemporaryError])
def test_what_is_the_operators_or_passes_is_said_as_such(kind: type[MailbellError]) -> None:
    def run(_: socket.socket) -> None:
        raise kind("no password", "write one")

    with (
        pytest.raises(kind, match="cannot start: no password; write one"),
        started(lambda: begin(run)),
    ):
        pass


@pytest.mark.usefixtures("sigchld")
def test_one_that_is_never_ready_stops_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_companion, "PATIENCE", 0.05)
    began, ended = time.monotonic(), forgotten()
    with (
        pytest.raises(OperatingSystemError, match="was not ready in time"),
        started(lambda: begin(lambda far: far.recv(1))),
    ):
        pass
    assert time.monotonic() - began < 20
    assert forgotten() <= ended, "it is reaped"


def test_the_sender_learns_of_no_child_afterwards() -> None:
    """The companion has no children either. The kernel keeps nothing of one that ends later."""
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:

        def run(far: socket.socket) -> None:
            say_ready(far)
            far.send(str(int(signal.getsignal(signal.SIGCHLD) == signal.SIG_IGN)).encode())
            far.recv(1)

        with started(lambda: begin(run)) as companion:
            companion.pair.settimeout(20)
            assert companion.pair.recv(10) == b"1"
            assert signal.getsignal(signal.SIGCHLD) == signal.SIG_IGN
            os.kill(companion.pid, signal.SIGKILL)
            until(lambda: not Path(f"/proc/{companion.pid}").exists())
    finally:
        signal.signal(signal.SIGCHLD, before)


def test_its_end_is_the_end_of_the_pair() -> None:
    def run(far: socket.socket) -> None:
        say_ready(far)
        far.recv(1)

    with started(lambda: begin(run)) as companion:
        os.kill(companion.pid, signal.SIGKILL)
        companion.pair.settimeout(20)
        assert companion.pair.recv(1) == b""
        until(lambda: is_gone(companion.pid))


# The reader of Cyrus's events is a companion that really locks itself in.
SENDER = """
import os, signal, socket, sys
from mailbell.sender import cyrus_reader
sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
sock.bind(sys.argv[1])
companion = cyrus_reader.start(sock, None)
print(companion.pid, flush=True)
sys.stdin.read()
"""


def test_a_companion_that_is_stopped_dies_with_the_sender(tmp_path: Path) -> None:
    """It could not notice the end of its pair. The kernel kills it: PR_SET_PDEATHSIG."""
    with subprocess.Popen(
        [sys.executable, "-c", SENDER, str(tmp_path / "cyrus")],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    ) as sender:  # fmt: skip
        assert sender.stdout is not None
        pid = int(sender.stdout.readline())
        os.kill(pid, signal.SIGSTOP)
        sender.kill()
        until(lambda: _is_dead(pid))


LOCKED = SENDER.replace(
    "print(",
    """
import ctypes
from mailbell._sys import landlock
ctypes.CDLL(None).prctl(38, 1, 0, 0, 0)  # PR_SET_NO_NEW_PRIVS, which Landlock wants
landlock.restrict()
print(""",
    1,
)


def test_a_companion_that_is_stopped_outlives_a_sender_that_may_send_no_signal(
    tmp_path: Path,
) -> None:
    """Landlock 6: PR_SET_PDEATHSIG is a signal of the sender's, which is refused.

    The companion ends when it goes on. A service manager kills it before that.
    """
    if landlock.abi() < 6:
        pytest.skip("scopes came with version 6")
    with subprocess.Popen(
        [sys.executable, "-c", LOCKED, str(tmp_path / "cyrus")],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    ) as sender:  # fmt: skip
        assert sender.stdout is not None
        pid = int(sender.stdout.readline())
        os.kill(pid, signal.SIGSTOP)
        sender.kill()
        sender.wait(20)  # the kernel sends the signal before
        outlived = not _is_dead(pid)
        os.kill(pid, signal.SIGCONT)
        until(lambda: _is_dead(pid))
    assert outlived, "docs/sandbox.md says that it is not killed"


def _is_dead(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][:1]
    except FileNotFoundError:
        return True
    return state == "Z"
