"""One connection at a time, with real sockets: what the kernel says, and what it is called."""

import errno
import select
import socket
import struct
import sys

import pytest
from harness.netns import namespaces
from sender.lines import FAMILIES, accepted, black_hole, host, listening

from mailbell.core.networks import Address
from mailbell.core.notification import Transport
from mailbell.core.rfc4146 import LINE
from mailbell.core.sender_outcome import RingOutcome
from mailbell.core.target import Target
from mailbell.sender._outgoing import Path, call_address, outcome_of, send_line

PATIENCE_MS = 20_000


def path_to(target: Target) -> Path:
    assert isinstance(target.host, Address)
    return Path.to(target.host, target.port, target.transport)


def begun(target: Target) -> socket.SocketType:
    """Begin a connection; it is not over."""
    found = call_address(path_to(target), may_be_own=True)
    assert not isinstance(found, RingOutcome)
    return found


def wait(sock: socket.SocketType) -> None:
    """Wait until the connection is made or has failed."""
    poll = select.poll()
    poll.register(sock.fileno(), select.POLLOUT)
    assert poll.poll(PATIENCE_MS)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_line_arrives(family: int) -> None:
    with listening(family) as sink:
        sock = begun(host(sink))
        wait(sock)
        assert send_line(sock) is RingOutcome.SENT
        sock.close()
        assert accepted(sink) == LINE


@pytest.mark.parametrize("family", FAMILIES)
def test_a_datagram_is_one_line(family: int) -> None:
    with socket.socket(family, socket.SOCK_DGRAM) as sink:
        sink.bind(("127.0.0.1" if family == socket.AF_INET else "::1", 0))
        sink.settimeout(20)
        path = path_to(host(sink))
        assert call_address(path, may_be_own=True) is RingOutcome.SENT
        assert sink.recv(64) == LINE


def test_a_port_without_a_listener_refuses() -> None:
    with socket.socket() as sink:
        sink.bind(("127.0.0.1", 0))
        sock = begun(host(sink))
        wait(sock)
        assert send_line(sock) is RingOutcome.REFUSED
        sock.close()


def test_a_host_that_resets_at_once() -> None:
    with listening() as sink:
        sock = begun(host(sink))
        wait(sock)
        connection, _ = sink.accept()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.close()
        assert send_line(sock) is RingOutcome.RESET
        sock.close()


def test_a_connection_that_is_not_made_yet_has_no_outcome() -> None:
    with black_hole() as sink:
        sock = begun(host(sink))
        assert send_line(sock) is None
        sock.close()


def test_an_address_that_nobody_can_have_is_unreachable() -> None:
    # The kernel finds no way for TCP to the broadcast address, and sends no packet.
    path = Path.to(Address.parse("255.255.255.255"), 79, Transport.TCP)
    assert call_address(path, may_be_own=True) is RingOutcome.UNREACHABLE


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM])
@pytest.mark.parametrize("family", FAMILIES)
def test_an_own_address_gets_nothing(family: int, kind: int) -> None:
    with socket.socket(family, kind) as sink:
        sink.bind(("127.0.0.1" if family == socket.AF_INET else "::1", 0))
        sink.settimeout(20)
        if kind == socket.SOCK_STREAM:
            sink.listen()
        path = path_to(host(sink))
        assert call_address(path, may_be_own=False) is RingOutcome.NOT_ALLOWED
        if kind == socket.SOCK_STREAM:
            assert accepted(sink) == b""
        else:
            sink.setblocking(False)
            with pytest.raises(BlockingIOError):
                sink.recv(64)


def test_a_family_that_this_machine_lacks_is_unreachable() -> None:
    path = Path(socket.AF_APPLETALK, socket.SOCK_STREAM, socket.IPPROTO_TCP, ("0", 79))
    assert call_address(path, may_be_own=True) is RingOutcome.UNREACHABLE


_CALLS = """
import select, sys
from mailbell.core.networks import Address
from mailbell.core.notification import Transport
from mailbell.core.sender_outcome import RingOutcome
from mailbell.sender._outgoing import Path, call_address, send_line
for text in sys.argv[1:]:
    path = Path.to(Address.parse(text), 79, Transport.TCP)
    found = call_address(path, may_be_own=False)
    if not isinstance(found, RingOutcome):
        poll = select.poll()
        poll.register(found.fileno(), select.POLLOUT)
        poll.poll(20_000)
        found = send_line(found)
    print(text, found)
"""


def test_what_real_hosts_and_real_routes_answer() -> None:
    """Two hosts on a cable: an own address, another host without a listener, no route at all."""
    near, far = ["192.0.2.1/24", "2001:db8::1/64"], ["192.0.2.2/24", "2001:db8::2/64"]
    expected = {
        "192.0.2.1": RingOutcome.NOT_ALLOWED,
        "2001:db8::1": RingOutcome.NOT_ALLOWED,
        "192.0.2.2": RingOutcome.REFUSED,
        "2001:db8::2": RingOutcome.REFUSED,
        "198.51.100.1": RingOutcome.UNREACHABLE,
        "2001:db8:1::1": RingOutcome.UNREACHABLE,
    }
    with namespaces(near, far) as hosts:
        told = hosts.server.run(sys.executable, "-c", _CALLS, *expected)
    assert dict(line.split() for line in told.splitlines()) == expected


class _Failing:
    """A socket whose calls fail as they do on a machine that lacks something."""

    def __init__(self, number: int = 0, sent: int = 0) -> None:
        self.number = number
        self.sent = sent
        self.is_open = True

    def connect_ex(self, _address: object) -> int:
        return self.number

    def send(self, _data: bytes, _flags: int) -> int:
        return self.sent

    def close(self) -> None:
        self.is_open = False


@pytest.mark.parametrize("number", [errno.ENOBUFS, errno.ENOMEM])
def test_what_this_machine_lacks_is_no_outcome(
    monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    made = _Failing(number)
    monkeypatch.setattr(socket, "SocketType", lambda *_: made)
    with pytest.raises(OSError, match="connect") as caught:
        call_address(path_to(Target(Address.parse("192.0.2.1"), 79, Transport.TCP)),
                     may_be_own=True)  # fmt: skip
    assert (caught.value.errno, made.is_open) == (number, False)


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE])
def test_without_a_descriptor_there_is_no_outcome(
    monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def refuse(*_: int) -> None:
        raise OSError(number, "")

    monkeypatch.setattr(socket, "SocketType", refuse)
    with pytest.raises(OSError, match=f"Errno {number}"):
        call_address(Path(2, 1, 6, ("192.0.2.1", 79)), may_be_own=True)


def test_a_line_of_which_only_a_part_went_is_not_sent() -> None:
    sock = _Failing(sent=3)
    assert send_line(sock) is RingOutcome.RESET  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("number", "outcome"),
    [
        (errno.ECONNREFUSED, RingOutcome.REFUSED),
        (errno.ECONNRESET, RingOutcome.RESET),
        (errno.EPIPE, RingOutcome.RESET),
        (errno.ETIMEDOUT, RingOutcome.TIMEOUT),
        (errno.EHOSTUNREACH, RingOutcome.UNREACHABLE),
        (errno.ENETUNREACH, RingOutcome.UNREACHABLE),
        (errno.EACCES, RingOutcome.UNREACHABLE),
        (errno.EADDRNOTAVAIL, RingOutcome.UNREACHABLE),
        (None, RingOutcome.UNREACHABLE),
    ],
)
def test_every_error_has_a_name(number: int | None, outcome: RingOutcome) -> None:
    assert outcome_of(OSError(number, "")) is outcome
