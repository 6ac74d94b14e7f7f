"""Real sockets: the kernel has what the code asked for."""

import errno
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from harness.ports import free_port

from mailbell._sys import sockets
from mailbell.core.errors import MailbellError, OperatingSystemError, PrivilegeError
from mailbell.core.networks import Family
from mailbell.core.notification import Transport

IPV6 = os.path.exists("/proc/net/if_inet6")
LOOPBACK = {Family.IPV4: "127.0.0.1", Family.IPV6: "::1"}


@dataclass(frozen=True)
class Endpoint:
    family: Family
    host: str
    port: int


@pytest.fixture(params=Family, ids=str)
def loopback(request: pytest.FixtureRequest) -> Endpoint:
    family: Family = request.param
    if family is Family.IPV6 and not IPV6:
        pytest.skip("no IPv6 here")
    return Endpoint(family, LOOPBACK[family], 0)


@contextmanager
def unprivileged() -> Iterator[None]:
    """Drop root's effective capabilities; another user has none to drop."""
    before = os.geteuid()
    if before == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(before)


def assert_common(sock: socket.socket, family: Family) -> None:
    assert sock.family == (socket.AF_INET if family is Family.IPV4 else socket.AF_INET6)
    assert not sock.getblocking()
    assert not sock.get_inheritable()
    if family is Family.IPV6:
        assert sock.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY) == 1


def test_a_tcp_socket_listens(loopback: Endpoint) -> None:
    with sockets.bind_tcp(loopback) as sock:
        assert_common(sock, loopback.family)
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN) == 1
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR) == 1
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT) >= 1
        with socket.create_connection(sock.getsockname()[:2]) as peer:
            peer.sendall(b"x")
            sock.settimeout(10)
            accepted, _ = sock.accept()
            accepted.close()


def test_a_silent_connection_does_not_wake() -> None:
    with (
        sockets.bind_tcp(Endpoint(Family.IPV4, "127.0.0.1", 0)) as sock,
        socket.create_connection(sock.getsockname()),
        pytest.raises(BlockingIOError),
    ):
        sock.accept()


def test_a_udp_socket_is_bound_and_not_shared(loopback: Endpoint) -> None:
    with sockets.bind_udp(loopback) as sock:
        assert_common(sock, loopback.family)
        assert sock.getsockname()[1] != 0
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR) == 0
        taken = Endpoint(loopback.family, loopback.host, sock.getsockname()[1])
        with pytest.raises(OperatingSystemError, match=f"is taken by .*, pid {os.getpid()};"):
            sockets.bind_udp(taken)


def test_datagrams_wait_in_a_queue_as_large_as_this_user_may_make_it(loopback: Endpoint) -> None:
    limit = int(Path("/proc/sys/net/core/rmem_max").read_text())
    wanted = sockets._RECEIVE_BUFFER
    with sockets.bind_udp(loopback) as sock:
        size = sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
    # socket(7): the kernel doubles the value. CAP_NET_ADMIN, which some containers keep from
    # root, lifts the limit.
    assert size in {2 * wanted, 2 * min(wanted, limit)}
    if os.geteuid() != 0:
        assert size == 2 * min(wanted, limit)


@pytest.mark.skipif(not IPV6, reason="no IPv6 here")
def test_both_families_share_a_port_number() -> None:
    port = free_port()
    with (
        sockets.bind_tcp(Endpoint(Family.IPV6, "::", port)) as six,
        sockets.bind_tcp(Endpoint(Family.IPV4, "0.0.0.0", port)) as four,
    ):
        assert four.getsockname()[1] == six.getsockname()[1] == port


def test_a_taken_port_names_who_has_it(loopback: Endpoint) -> None:
    with sockets.bind_tcp(loopback) as sock:
        port = sock.getsockname()[1]
        with pytest.raises(OperatingSystemError) as caught:
            sockets.bind_tcp(Endpoint(loopback.family, loopback.host, port))
    assert caught.value.exit_code == 71
    assert f"port {port} of {loopback.host} is taken by " in str(caught.value)
    assert f"pid {os.getpid()}; stop what holds it" in str(caught.value)


def test_a_restart_does_not_wait_for_old_connections() -> None:
    with sockets.bind_tcp(Endpoint(Family.IPV4, "127.0.0.1", 0)) as sock:
        address = sock.getsockname()
        sock.settimeout(10)
        with socket.create_connection(address) as peer:
            peer.sendall(b"x")
            accepted, _ = sock.accept()
            accepted.close()  # this side closes first, so TIME_WAIT is on this side
    sockets.bind_tcp(Endpoint(Family.IPV4, *address)).close()


def test_a_low_port_needs_a_privilege() -> None:
    with open("/proc/sys/net/ipv4/ip_unprivileged_port_start") as file:
        if int(file.read()) <= 79:
            pytest.skip("port 79 needs no privilege here")
    for bind in (sockets.bind_tcp, sockets.bind_udp):
        with unprivileged(), pytest.raises(PrivilegeError) as caught:
            bind(Endpoint(Family.IPV4, "127.0.0.1", 79))
        assert caught.value.exit_code == 77
        for remedy in ("start as root", "socket activation", "above 1023"):
            assert remedy in str(caught.value)


def test_a_foreign_address_is_refused() -> None:
    for bind in (sockets.bind_tcp, sockets.bind_udp):
        with pytest.raises(OperatingSystemError, match=r"192\.0\.2\.1 is not an address of this"):
            bind(Endpoint(Family.IPV4, "192.0.2.1", 0))


@pytest.mark.parametrize(
    ("code", "message"),
    [(errno.EAFNOSUPPORT, "no IPv6.*remove that address"), (errno.EMFILE, "Too many open files")],
)
def test_no_socket_at_all(monkeypatch: pytest.MonkeyPatch, code: int, message: str) -> None:
    def refuse(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(socket, "socket", refuse)
    with pytest.raises(OperatingSystemError, match=message):
        sockets.bind_tcp(Endpoint(Family.IPV6, "::", 79))


def test_a_failed_bind_leaks_no_descriptor() -> None:
    before = os.listdir("/proc/self/fd")
    with pytest.raises(OperatingSystemError):
        sockets.bind_tcp(Endpoint(Family.IPV4, "192.0.2.1", 0))
    assert os.listdir("/proc/self/fd") == before


def test_drops_are_counted_where_the_kernel_tells() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
        receiver.bind(("127.0.0.1", 0))
        assert sockets.kernel_drops(receiver) == 0
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            for _ in range(50):
                sender.sendto(bytes(1000), receiver.getsockname())
        held = 0
        receiver.setblocking(False)
        try:
            while receiver.recv(2000):
                held += 1
        except BlockingIOError:
            pass
        assert 0 < held < 50
        assert sockets.kernel_drops(receiver) == 50 - held


class Answers(socket.socket):
    """A socket of a kernel that does not know SO_MEMINFO, or returns less of it."""

    answer: bytes | None = None

    def getsockopt(self, *_: int) -> bytes:  # type: ignore[override]
        if self.answer is None:
            raise OSError(errno.ENOPROTOOPT, "Protocol not available")
        return self.answer


@pytest.mark.parametrize("answer", [None, bytes(32)])
def test_no_drops_where_the_kernel_does_not_tell(answer: bytes | None) -> None:
    with Answers() as sock:
        sock.answer = answer
        assert sockets.kernel_drops(sock) is None


def test_the_peer_is_known() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        found = sockets.peer_credentials(ours)
    assert found == sockets.PeerCredentials(os.getpid(), os.geteuid(), os.getegid())


def test_a_peer_that_does_not_read_holds_little() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        sockets.limit_send_buffer(ours)
        sent = 0
        try:
            while True:
                sent += ours.send(bytes(512))
        except BlockingIOError:
            pass
        assert 512 <= sent <= 8192


@pytest.mark.parametrize("transport", Transport)
def test_an_examined_port_is_free_afterwards(loopback: Endpoint, transport: Transport) -> None:
    bind = sockets.bind_tcp if transport is Transport.TCP else sockets.bind_udp
    with bind(loopback) as sock:
        taken = Endpoint(loopback.family, loopback.host, sock.getsockname()[1])
        with pytest.raises(sockets.PortTakenError) as caught:
            sockets.examine(taken, transport)
        assert caught.value.holder is not None
        assert caught.value.holder.pid == os.getpid()
    sockets.examine(taken, transport)
    sockets.examine(taken, transport)
    bind(taken).close()


def test_examining_says_what_binding_would() -> None:
    for endpoint in (Endpoint(Family.IPV4, "192.0.2.1", 0), Endpoint(Family.IPV4, "127.0.0.1", 79)):
        with unprivileged():
            with pytest.raises(MailbellError) as bound:
                sockets.bind_tcp(endpoint)
            with pytest.raises(MailbellError) as examined:
                sockets.examine(endpoint, Transport.TCP)
        assert str(examined.value) == str(bound.value)
        assert type(examined.value) is type(bound.value)
