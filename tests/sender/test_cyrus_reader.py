"""The real reader, locked in, beside a sender that reads, is stopped, or has ended."""

import errno
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from harness.daemon import until
from sender.companions import is_gone, started

from mailbell.core.errors import OperatingSystemError
from mailbell.sender import cyrus_reader
from mailbell.sender._companion import Companion
from mailbell.sender._cyrus_event import parse_datagram_untrusted
from mailbell.sender._requests import NewMail

# Seconds that one datagram may wait. Without a reader it would wait without an end.
PATIENCE = 20.0


def event(name: str, user: str, **more: str) -> bytes:
    fields = {"event": name, "user": user, "uri": f"imap://vm/user.{user};UIDVALIDITY=1", **more}
    text = ",".join(f'"{key}":"{value}"' for key, value in fields.items())
    return b"mailbell\0EVENT\0\0\0\x000\0{" + text.encode() + b"}\0"


def mail(user: str) -> bytes:
    return event("MessageNew", user)


def bound(path: Path) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    sock.bind(str(path))
    return sock


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "cyrus"


@pytest.fixture
def companion(path: Path) -> Iterator[Companion]:
    with started(lambda: cyrus_reader.start(bound(path), None)) as companion:
        companion.pair.settimeout(PATIENCE)
        yield companion


@pytest.fixture
def cyrus(path: Path, companion: Companion) -> Iterator[socket.socket]:
    """Cyrus's side: it waits when the queue is full, as lmtpd does."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.settimeout(PATIENCE)
        sock.connect(str(path))
        yield sock


def test_what_matters_is_passed_on(companion: Companion, cyrus: socket.socket) -> None:
    login = event("Login", "anna", clientIP="192.0.2.7")
    last = mail("zoe")
    for data in (event("Logout", "anna"), mail("anna"), login, b"rubbish", b"", last):
        cyrus.send(data)
    found: list[bytes] = []
    while not found or found[-1] != last:
        found.append(companion.pair.recv(20_000))
    # The empty one asks the same as the rubbish, and may have waited as one with it.
    assert [each for each in found if each != b"\0"] == [mail("anna"), login, b"rubbish", last]


def test_ten_thousand_datagrams_while_nothing_reads(
    companion: Companion, cyrus: socket.socket
) -> None:
    for number in range(10_000):
        cyrus.send(mail(f"u{number % 3_000}"))
    found: set[str] = set()
    while len(found) < 3_000:
        asked = parse_datagram_untrusted(companion.pair.recv(20_000))
        assert isinstance(asked, NewMail)
        found.add(asked.account)
    assert f"u{2_999}" in found


def test_it_stays_small_whatever_comes(companion: Companion, cyrus: socket.socket) -> None:
    before = memory(companion.pid)
    for number in range(12_000):
        cyrus.send(mail(f"u{number}" + "x" * 200))
    assert memory(companion.pid) - before < 32 * 1024


def memory(pid: int) -> int:
    """Return the most memory that a process has had, in KiB."""
    return int(Path(f"/proc/{pid}/status").read_text().partition("VmHWM:")[2].split()[0])


def test_when_it_has_ended_cyrus_gets_an_error_at_once(
    companion: Companion, cyrus: socket.socket
) -> None:
    os.kill(companion.pid, signal.SIGKILL)
    assert companion.pair.recv(100) == b""
    until(lambda: is_gone(companion.pid))  # its descriptors are closed one after another
    with pytest.raises(ConnectionRefusedError):
        cyrus.send(mail("anna"))


def test_it_gives_the_rest_and_ends_when_the_sender_asks(
    companion: Companion, cyrus: socket.socket
) -> None:
    """More waits than the kernel keeps for the pair."""
    for number in range(3_000):
        cyrus.send(mail(f"u{number}"))
    companion.pair.send(b"\0")
    found = []
    while data := companion.pair.recv(20_000):
        found.append(data)
    assert found == [mail(f"u{number}") for number in range(3_000)]
    until(lambda: is_gone(companion.pid))


def test_it_ends_with_the_sender(companion: Companion) -> None:
    companion.pair.close()
    until(lambda: is_gone(companion.pid))


def test_it_goes_on_after_it_was_stopped(companion: Companion, cyrus: socket.socket) -> None:
    """It was stopped while it waited: the kernel then has it make the call restart_syscall."""
    until(lambda: stopped(companion.pid, "S"))
    os.kill(companion.pid, signal.SIGSTOP)
    until(lambda: stopped(companion.pid))
    os.kill(companion.pid, signal.SIGCONT)
    cyrus.send(mail("anna"))
    assert companion.pair.recv(1000) == mail("anna")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_to_all_processes_of_the_service_is_the_senders_affair(
    companion: Companion, cyrus: socket.socket, number: signal.Signals
) -> None:
    os.kill(companion.pid, number)
    cyrus.send(mail("anna"))
    assert companion.pair.recv(1000) == mail("anna")


SENDER = """
import os, signal, sys
from sender.test_cyrus_reader import bound, parse_datagram_untrusted
from mailbell.sender import cyrus_reader
companion = cyrus_reader.start(bound(sys.argv[1]), None)
print("ready", flush=True)
os.kill(os.getpid(), signal.SIGSTOP)
companion.pair.settimeout(20)
found = set()
while len(found) < 5_000:
    found.add(parse_datagram_untrusted(companion.pair.recv(20_000)).account)
print(len(found), companion.pid, flush=True)
sys.stdin.read()
"""


def test_a_sender_that_is_stopped_delays_no_delivery(path: Path) -> None:
    """10,000 datagrams are taken meanwhile. Afterwards it hears of each user, once."""
    paths = [str(Path(__file__).parent.parent)]
    with subprocess.Popen(
        [sys.executable, "-c", SENDER, str(path)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": paths[0]},
    ) as sender, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as cyrus:  # fmt: skip
        assert sender.stdout is not None
        assert sender.stdin is not None
        assert sender.stdout.readline() == b"ready\n"
        until(lambda: stopped(sender.pid))
        cyrus.settimeout(PATIENCE)
        cyrus.connect(str(path))
        for number in range(10_000):
            cyrus.send(mail(f"u{number % 5_000}"))
        sender.send_signal(signal.SIGCONT)
        count, pid = map(int, sender.stdout.readline().split())
        assert count == 5_000
        sender.kill()
        # Its companion has another parent by now, or none.
        until(lambda: not Path(f"/proc/{pid}").exists() or stopped(pid, "Z"))


def stopped(pid: int, state: str = "T") -> bool:
    """Tell whether a process is in a state as of proc_pid_stat(5)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].startswith(state)
    except FileNotFoundError:
        return False


def test_a_log_that_nobody_reads_delays_nothing(path: Path, tmp_path: Path) -> None:
    """Its standard error is a full pipe when it has something to say."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    with suppress(BlockingIOError):
        while True:
            os.write(writing, b"x" * 4096)
    os.set_blocking(writing, True)
    saved = os.dup(2)
    os.dup2(writing, 2)
    try:
        context = started(lambda: cyrus_reader.start(bound(path), None))
        companion = context.__enter__()
    finally:
        os.dup2(saved, 2)
        os.close(saved)
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as cyrus:
            cyrus.settimeout(PATIENCE)
            cyrus.connect(str(path))
            for number in range(12_000):  # more than may wait
                cyrus.send(mail(f"u{number}"))
        assert companion.pair.recv(1000) == mail("u0")
    finally:
        context.__exit__(None, None, None)
        os.close(reading)
        os.close(writing)


def test_a_start_that_fails_says_why(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(errno.ENOMEM, "Cannot allocate memory")

    monkeypatch.setattr(cyrus_reader, "confine", fail)
    with (
        pytest.raises(OperatingSystemError, match=r"mailbell-cyrus cannot start: .*allocate"),
        started(lambda: cyrus_reader.start(bound(path), None)),
    ):
        pass


def test_it_is_locked_in_and_has_two_sockets(companion: Companion) -> None:
    status = Path(f"/proc/{companion.pid}/status").read_text()
    assert "Seccomp:\t2\n" in status
    assert "CapEff:\t0000000000000000\n" in status
    if os.geteuid():
        pytest.skip("the descriptors of an undumpable process are shown to root only")
    names = [os.readlink(each) for each in Path(f"/proc/{companion.pid}/fd").iterdir()]
    assert sum(name.startswith("socket:") for name in names) == 2
    assert len(names) == 2 + 3
