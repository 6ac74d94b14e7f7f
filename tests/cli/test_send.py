"""`mailbell send`: against real sockets."""

import errno
import os
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from cli.support import Run, words
from harness.netns import namespaces
from harness.ports import free_port
from harness.sender import PATIENCE

from mailbell.cli import _dial, _group, send
from mailbell.cli.send import parse_target
from mailbell.core.errors import MailbellError, UnavailableError, UsageError

_LINE = b"nm_notifyuser\r\n"


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(10)
        yield server


@pytest.fixture
def receiver() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        server.settimeout(10)
        yield server


def _where(server: socket.socket) -> str:
    return f"127.0.0.1:{server.getsockname()[1]}"


def test_tcp_is_the_line_and_the_end(run: Run, listener: socket.socket) -> None:
    result = run("mailbell", "send", _where(listener))
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    connection, _ = listener.accept()
    with connection, connection.makefile("rb") as stream:
        assert stream.read() == _LINE


def test_udp_is_one_datagram(run: Run, receiver: socket.socket) -> None:
    result = run("mailbell", "send", "--udp", "-v", _where(receiver))
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout == f"sent to udp {_where(receiver)}\n"
    assert receiver.recv(100) == _LINE
    receiver.setblocking(False)
    with pytest.raises(BlockingIOError):
        receiver.recv(100)


def test_it_says_where_when_asked(
    listener: socket.socket, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _group.run(["send", "--verbose", _where(listener)]) == 0
    assert capsys.readouterr().out == f"sent to tcp {_where(listener)}\n"


def test_nobody_there_is_69(run: Run) -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        target = _where(bound)
        result = run("mailbell", "send", target)
    assert result.returncode == 69
    assert result.stderr == (
        f"mailbell: tcp {target}: nothing listens there; start mailbelld there\n"
    )


def test_a_listener_that_breaks_off_is_69(
    monkeypatch: pytest.MonkeyPatch, listener: socket.socket, capsys: pytest.CaptureFixture[str]
) -> None:
    """Like a listener that closes without reading: the kernel then sends a reset.

    No other address gets the line: the listener may have read it before the reset.
    """

    def connect_and_be_reset(*given: Any) -> tuple[socket.socket, Any]:
        connected = _dial.connect(*given)
        accepted, _ = listener.accept()
        accepted.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        accepted.close()
        return connected

    monkeypatch.setattr(send, "connect", connect_and_be_reset)
    with socket.create_server(("127.0.0.1", 0)) as other:
        monkeypatch.setattr(socket, "getaddrinfo", _candidates(listener, other))
        assert _group.run(["send", "mail.example"]) == 69
        assert "broken off" in capsys.readouterr().err
        _assert_untouched(other)


def test_no_answer_is_75(run: Run) -> None:
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        # A backlog of 0 holds one connection; the kernel drops the next SYN.
        with socket.create_connection(full.getsockname()):
            result = run("mailbell", "send", "--timeout", "0.2", _where(full))
    assert result.returncode == 75
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (socket.gaierror(socket.EAI_NONAME, "x"), 69),
        (socket.gaierror(socket.EAI_AGAIN, "x"), 75),
        (UnicodeError("label too long"), 69),
    ],
)
def test_a_name_nobody_knows(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: Exception, code: int
) -> None:
    def getaddrinfo(*_: Any, **__: Any) -> Any:
        raise error

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    assert _group.run(["send", "mail.example"]) == code
    assert "mail.example" in capsys.readouterr().err


def test_a_label_that_is_too_long_is_no_host(run: Run) -> None:
    assert run("mailbell", "send", "a" * 64 + ".example").returncode == 69


def _candidates(*servers: socket.socket) -> Any:
    found = [(server.family, server.type, 0, "", server.getsockname()) for server in servers]
    return lambda *_, **__: found


def _assert_untouched(server: socket.socket) -> None:
    """Check that no client has connected or sent a datagram."""
    server.setblocking(False)
    with pytest.raises(BlockingIOError):
        server.accept() if server.type == socket.SOCK_STREAM else server.recv(100)


@contextmanager
def _dead(family: int = socket.AF_INET6, host: str = "::1") -> Iterator[socket.socket]:
    """An address that never answers. Its backlog is full, so the kernel drops each SYN."""
    with socket.socket(family) as full, socket.socket(family) as filling:
        full.bind((host, 0))
        full.listen(0)
        filling.connect(full.getsockname())
        yield full


def test_every_address_of_a_name_is_tried(
    monkeypatch: pytest.MonkeyPatch, listener: socket.socket
) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # it is bound, and does not listen
        monkeypatch.setattr(socket, "getaddrinfo", _candidates(closed, listener))
        assert _group.run(["send", "mail.example"]) == 0
    connection, _ = listener.accept()
    connection.close()


def test_only_one_address_is_told(monkeypatch: pytest.MonkeyPatch, listener: socket.socket) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        monkeypatch.setattr(socket, "getaddrinfo", _candidates(listener, other))
        assert _group.run(["send", "mail.example"]) == 0
        _assert_untouched(other)


def test_a_dead_address_does_not_take_the_time_of_the_next(
    monkeypatch: pytest.MonkeyPatch, listener: socket.socket, capsys: pytest.CaptureFixture[str]
) -> None:
    """RFC 8305. The time-out is an hour; if the first address took all of it, this would hang."""
    with _dead() as dead:
        monkeypatch.setattr(socket, "getaddrinfo", _candidates(dead, dead, dead, listener))
        assert _group.run(["send", "-v", "--timeout", "3600", "mail.example"]) == 0
    assert capsys.readouterr().out == f"sent to tcp {_where(listener)}\n"
    connection, _ = listener.accept()
    with connection, connection.makefile("rb") as stream:
        assert stream.read() == _LINE


def test_a_time_that_is_short_is_shared(
    monkeypatch: pytest.MonkeyPatch, listener: socket.socket
) -> None:
    """Each address has less than RFC 8305's quarter of a second, and the last one is tried too."""
    monkeypatch.setattr(_dial, "DELAY", 1800)
    with _dead() as dead:
        monkeypatch.setattr(socket, "getaddrinfo", _candidates(dead, dead, listener))
        assert _group.run(["send", "--timeout", "3", "mail.example"]) == 0


def test_a_refused_address_gives_way_at_once(
    monkeypatch: pytest.MonkeyPatch, listener: socket.socket
) -> None:
    monkeypatch.setattr(_dial, "DELAY", 1800)
    with socket.socket(socket.AF_INET6) as closed:
        closed.bind(("::1", 0))
        monkeypatch.setattr(socket, "getaddrinfo", _candidates(closed, listener))
        assert _group.run(["send", "--timeout", "3600", "mail.example"]) == 0


def test_no_address_that_answers_is_75_and_says_how_many(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with _dead() as one, _dead(socket.AF_INET, "127.0.0.1") as two, socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        monkeypatch.setattr(socket, "getaddrinfo", _candidates(one, two, closed))
        assert _group.run(["send", "--timeout", "0.2", "mail.example"]) == 75
    said = capsys.readouterr().err
    assert "(the last of 3 addresses): no answer in time" in said
    assert said.count("\n") == 1


def test_only_the_used_connection_is_left(listener: socket.socket) -> None:
    before = os.listdir("/proc/self/fd")
    with _dead() as dead:
        candidates = _candidates(dead, dead, listener)()
        sock, candidate = _dial.connect(candidates, time.monotonic() + 3600)
        assert candidate == candidates[2]
        sock.close()
    assert os.listdir("/proc/self/fd") == before


def _to(family: int, number: int) -> _dial.Candidate:
    return family, socket.SOCK_STREAM, 0, "", (str(number), 79)


def test_the_families_take_turns_and_there_is_an_end() -> None:
    six = [_to(socket.AF_INET6, n) for n in range(100)]
    four = [_to(socket.AF_INET, n) for n in range(2)]
    found = _dial.interleaved([*six, *four])
    assert found[:5] == [six[0], four[0], six[1], four[1], six[2]]
    assert len(found) == 32
    assert _dial.interleaved([]) == []


def test_a_datagram_goes_to_one_address(
    monkeypatch: pytest.MonkeyPatch, receiver: socket.socket
) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("127.0.0.1", 0))
        monkeypatch.setattr(socket, "getaddrinfo", _candidates(receiver, other))
        assert _group.run(["send", "--udp", "mail.example"]) == 0
        _assert_untouched(other)
    assert receiver.recv(100) == _LINE


def test_a_datagram_that_is_refused_goes_to_the_next_address(
    monkeypatch: pytest.MonkeyPatch, receiver: socket.socket
) -> None:
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as gone:
        gone.bind(("::1", 0))
        candidates = _candidates(gone, receiver)
    monkeypatch.setattr(socket, "getaddrinfo", candidates)
    assert _group.run(["send", "--udp", "mail.example"]) == 0
    assert receiver.recv(100) == _LINE


def test_a_datagram_that_nobody_takes_is_69(run: Run) -> None:
    target = f"127.0.0.1:{free_port()}"
    result = run("mailbell", "send", "--udp", target)
    assert result.returncode == 69
    assert (
        result.stderr == f"mailbell: udp {target}: nothing listens there; start mailbelld there\n"
    )


def test_a_look_up_has_its_time_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    for_ever = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: for_ever.wait())
    try:
        assert _group.run(["send", "--timeout", "0.05", "mail.example"]) == 75
    finally:
        for_ever.set()


def test_no_thread_for_a_look_up_is_71(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    assert _group.run(["send", "mail.example"]) == 71
    # capsys also keeps the command from closing pytest's own standard output.
    assert "no thread for a look-up" in capsys.readouterr().err


def test_a_silent_name_server_costs_the_timeout_alone(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    """The C library would wait for five minutes, and cannot be stopped."""
    (tmp_path / "resolv.conf").write_text("nameserver 192.0.2.1\noptions timeout:30 attempts:5\n")
    (tmp_path / "nsswitch.conf").write_text("hosts: dns\n")
    mount = f"mount --bind {tmp_path}/$file /etc/$file"
    script = f'for file in resolv.conf nsswitch.conf; do {mount} || exit 99; done; exec "$@"'
    with namespaces(["192.0.2.1/24"], ["192.0.2.2/24"]) as hosts:
        server = hosts.server.socket(socket.AF_INET, socket.SOCK_DGRAM)
        with server:
            server.bind(("192.0.2.1", 53))
            inside = (*hosts.client.enter, "unshare", "-m", "sh", "-c", script, "sh")
            send_it = words("mailbell", "send", "--timeout", "0.5", "mail.example")
            done = subprocess.run(
                [*inside, *send_it], env=environment, check=False, capture_output=True,
                text=True, timeout=PATIENCE,
            )  # fmt: skip
            assert server.recv(512)  # the name server was asked
    assert done.returncode == 75, done.stderr
    assert done.stderr.startswith("mailbell: mail.example: no name server answered in time; ")
    assert done.stderr.count("\n") == 1


def test_a_name_without_addresses_is_69(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", _candidates())
    assert _group.run(["send", "mail.example"]) == 69


@pytest.mark.parametrize(
    ("number", "code"),
    [
        (errno.EPERM, 77),
        (errno.ENETUNREACH, 69),
        (errno.EHOSTUNREACH, 69),
        (errno.ECONNRESET, 69),
        (errno.ENOTCONN, 69),
        (errno.EMFILE, 71),
        (errno.ETIMEDOUT, 75),
    ],
)
def test_what_the_system_says_becomes_a_code_and_a_remedy(number: int, code: int) -> None:
    where = "tcp [2001:db8::1]:79"
    error = send._explain(OSError(number, "because"), where)
    assert isinstance(error, MailbellError)
    assert error.exit_code == code
    assert error.what.startswith(where)
    assert error.remedy


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("mail.example", ("mail.example", 79)),
        ("mail.example:7979", ("mail.example", 7979)),
        ("192.0.2.1:1", ("192.0.2.1", 1)),
        ("::1", ("::1", 79)),
        ("2001:db8::1", ("2001:db8::1", 79)),
        ("[::1]", ("::1", 79)),
        ("[fe80::1%eth0]:65535", ("fe80::1%eth0", 65535)),
    ],
)
def test_a_target_is_read(text: str, target: tuple[str, int]) -> None:
    assert parse_target(text) == target


@pytest.mark.parametrize(
    "text",
    ["", ":79", "[]", "[::1", "[::1]79", "h:", "h:0", "h:65536", "h:+1", "h:1_0", "h:٧٩", "h: 79"],
)
def test_what_is_no_target_is_64(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_target(text)
    assert caught.value.remedy


@pytest.mark.parametrize(
    ("target", "hint"),
    [
        ("::1:79", "; for port 79 of ::1 write [::1]:79"),
        ("2001:db8::7:7979", "; for port 7979 of 2001:db8::7 write [2001:db8::7]:7979"),
        ("2001:db8::7", ""),
        ("[2001:db8::7]:79", ""),
        ("2001:db8::7:99999", ""),
        ("localhost:1", ""),
        ("\udcff:1", ""),
    ],
)
def test_a_port_without_brackets_is_no_port_and_it_says_so(
    monkeypatch: pytest.MonkeyPatch, target: str, hint: str
) -> None:
    def unreachable(*_: object) -> str:
        raise UnavailableError("no way there", "check the network")

    monkeypatch.setattr(send, "_send", unreachable)
    with pytest.raises(UnavailableError) as caught:
        # click keeps the option for help of a command's first call, for all later ones.
        send.command.main([target], standalone_mode=False, help_option_names=["-h", "--help"])
    assert caught.value.remedy == "check the network" + hint


def test_ipv6_is_shown_in_brackets() -> None:
    candidate = (socket.AF_INET6, socket.SOCK_STREAM, 0, "", ("::1", 79, 0, 0))
    assert send._where(candidate) == "tcp [::1]:79"
