"""`mailbell send`: against real sockets."""

import errno
import socket
import struct
from collections.abc import Iterator
from typing import Any

import pytest
from cli.support import Run

from mailbell._errors import MailbellError, UsageError
from mailbell.cli import _group, send
from mailbell.cli.send import parse_target

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


def test_nobody_there_is_69(run: Run, listener: socket.socket) -> None:
    target = _where(listener)
    listener.close()
    result = run("mailbell", "send", target)
    assert result.returncode == 69
    assert result.stderr == (
        f"mailbell: tcp {target}: nobody listens there; start mailbelld there\n"
    )


def test_a_listener_that_breaks_off_is_69(
    monkeypatch: pytest.MonkeyPatch, listener: socket.socket, capsys: pytest.CaptureFixture[str]
) -> None:
    """As one does that closes without reading: the kernel then sends a reset."""
    connect = socket.socket.connect

    def connect_and_be_reset(self: socket.socket, address: Any) -> None:
        connect(self, address)
        accepted, _ = listener.accept()
        accepted.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        accepted.close()

    monkeypatch.setattr(socket.socket, "connect", connect_and_be_reset)
    assert _group.run(["send", _where(listener)]) == 69
    assert "broken off" in capsys.readouterr().err


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
    addresses = [server.getsockname() for server in servers]
    found = [(socket.AF_INET, socket.SOCK_STREAM, 0, "", address) for address in addresses]
    return lambda *_, **__: found


def test_every_address_of_a_name_is_tried(
    monkeypatch: pytest.MonkeyPatch, listener: socket.socket
) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # bound, but it does not listen
        monkeypatch.setattr(socket, "getaddrinfo", _candidates(closed, listener))
        assert _group.run(["send", "mail.example"]) == 0
    connection, _ = listener.accept()
    connection.close()


def test_only_one_address_is_told(monkeypatch: pytest.MonkeyPatch, listener: socket.socket) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        monkeypatch.setattr(socket, "getaddrinfo", _candidates(listener, other))
        assert _group.run(["send", "mail.example"]) == 0
        other.setblocking(False)
        with pytest.raises(BlockingIOError):
            other.accept()


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


def test_ipv6_is_shown_in_brackets() -> None:
    candidate = (socket.AF_INET6, socket.SOCK_STREAM, 0, "", ("::1", 79, 0, 0))
    assert send._where(candidate) == "tcp [::1]:79"
