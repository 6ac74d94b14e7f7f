"""The programs in the kernel: which packets pass, and that a locked program stays."""

import errno
import ipaddress
import os
import select
import socket
from collections.abc import Callable, Iterator

import pytest
from harness.netns import Pair, namespaces

from mailbell._sys import bpf
from mailbell._sys.bpf_program import Instruction
from mailbell._sys.sockets import kernel_drops
from mailbell.core.errors import OperatingSystemError, PrivilegeError
from mailbell.core.networks import Family, Network
from mailbell.core.outcome import Outcome
from mailbell.core.rfc4146 import LINE, STRICT, Terminator, parse_datagram
from mailbell.listener._packet_filter import line_filter, source_filter

SO_ATTACH_FILTER, SO_DETACH_FILTER, SO_LOCK_FILTER = 26, 27, 44
PATIENCE_MS = 10_000
LISTED, UNLISTED = "127.0.0.2", "127.0.0.3"
ACCEPT_ALL = (Instruction(6, 0, 0, 0xFFFFFFFF),)


def network(text: str) -> Network:
    parsed = ipaddress.ip_network(text)
    return Network(Family(parsed.version), int(parsed.network_address), parsed.prefixlen)


def ready(sock: socket.socket, event: int, milliseconds: int = PATIENCE_MS) -> bool:
    poll = select.poll()
    poll.register(sock, event)
    return bool(poll.poll(milliseconds))


def call(sock: socket.socket, source: str, target: tuple[str, int]) -> socket.socket:
    """Begin a connection; do not wait for it."""
    sock.setblocking(False)
    sock.bind((source, 0))
    assert sock.connect_ex(target) == errno.EINPROGRESS
    return sock


def wait_for_drops(sock: socket.socket, count: int) -> None:
    """A drop wakes no process, so look again and again; a poll on an idle socket slows it."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as idle:
        for _ in range(PATIENCE_MS // 10):
            if (kernel_drops(sock) or 0) >= count:
                return
            ready(idle, select.POLLIN, 10)
    pytest.fail(f"{kernel_drops(sock)} packets were dropped, not {count}")


HOSTS = {
    Family.IPV4: ("192.0.2.1", "192.0.2.25", "192.0.2.66", "192.0.2.16/28"),
    Family.IPV6: ("2001:db8::1", "2001:db8:1::25", "2001:db8:2::25", "2001:db8:1::/64"),
}


@pytest.fixture(scope="module")
def hosts() -> Iterator[Pair]:
    with namespaces(
        server=["192.0.2.1/24", "2001:db8::1/32"],
        client=[
            "192.0.2.25/24", "192.0.2.66/24", "2001:db8:1::25/32", "2001:db8:2::25/32",
        ],
    ) as pair:  # fmt: skip
        yield pair


@pytest.fixture
def tcp4(hosts: Pair) -> Callable[[], socket.socket]:
    """Makes TCP sockets on loopback, in a namespace in which this process may filter them."""
    return lambda: hosts.server.socket(socket.AF_INET, socket.SOCK_STREAM)


@pytest.fixture
def listener(tcp4: Callable[[], socket.socket]) -> Iterator[socket.socket]:
    with tcp4() as sock:
        sock.bind(("127.0.0.1", 0))
        bpf.attach(sock, source_filter(Family.IPV4, [network(LISTED)]))
        bpf.lock(sock)
        sock.listen()
        yield sock


def test_only_a_listed_source_finishes_the_handshake(
    listener: socket.socket, tcp4: Callable[[], socket.socket]
) -> None:
    with tcp4() as unlisted, tcp4() as listed:
        # The unlisted source first: on loopback the kernel decides its SYN before the next is sent.
        call(unlisted, UNLISTED, listener.getsockname())
        call(listed, LISTED, listener.getsockname())
        assert ready(listed, select.POLLOUT)
        assert listed.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0
        assert not ready(unlisted, select.POLLOUT, 0)
        assert kernel_drops(listener) == 1
        accepted, peer = listener.accept()
        with accepted:
            assert peer[0] == LISTED
            assert not ready(listener, select.POLLIN, 0)


def test_a_stream_is_not_cut(listener: socket.socket, tcp4: Callable[[], socket.socket]) -> None:
    """Accepted sockets inherit the program: segments of every length must pass."""
    with tcp4() as sender:
        sender.bind((LISTED, 0))
        sender.settimeout(PATIENCE_MS / 1000)
        sender.connect(listener.getsockname())
        accepted, _ = listener.accept()
        with accepted:
            accepted.settimeout(PATIENCE_MS / 1000)
            received = b""
            for size in (1, 2, 14, 15, 16, 5000):
                sender.sendall(b"x" * size)
                received += accepted.recv(size, socket.MSG_WAITALL)
            sender.shutdown(socket.SHUT_WR)
            assert accepted.recv(1) == b""
            assert received == b"x" * (1 + 2 + 14 + 15 + 16 + 5000)
            accepted.sendall(b"y")
            assert sender.recv(1) == b"y"


@pytest.mark.parametrize("terminators", [STRICT, frozenset(Terminator)], ids=["strict", "lenient"])
@pytest.mark.parametrize("allow", [[], [network(LISTED)]], ids=["anyone", "listed"])
def test_on_udp_exactly_the_good_lines_arrive(
    allow: list[Network], terminators: frozenset[Terminator]
) -> None:
    token = LINE[:-2]
    lines = [
        b"", b"n", token[:-1], token, token + b"\n", token + b"\r", LINE, LINE + b"\0",
        LINE + LINE, LINE.upper(), b"\r\n", b"x" * 15, bytes(15), b"n" * 1400, token + b"\r\r",
        LINE[:7] + b"-" + LINE[8:], b"x" + LINE[1:],
    ]  # fmt: skip
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.bind(("127.0.0.1", 0))
        bpf.attach(receiver, line_filter(Family.IPV4, allow, terminators))
        bpf.lock(receiver)
        expected = []
        sent = 0
        for source in (UNLISTED, LISTED):
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
                sender.bind((source, 0))
                for line in [*lines, LINE]:
                    sender.sendto(line, receiver.getsockname())
                    sent += 1
                    good = parse_datagram(line, terminators) is Outcome.ACCEPTED
                    if good and (not allow or source == LISTED):
                        expected.append((source, line))
        # The last datagram is good, and loopback keeps the order.
        arrived: list[tuple[str, bytes]] = []
        while ready(receiver, select.POLLIN, 0 if len(arrived) >= len(expected) else PATIENCE_MS):
            data, (source, _) = receiver.recvfrom(2048)
            arrived.append((source, data))
        assert arrived == expected
        assert kernel_drops(receiver) == sent - len(expected)


@pytest.mark.parametrize("family", Family)
def test_the_kernel_takes_256_networks(family: Family) -> None:
    step = 0x9E3779B97F4A7C15F39CC0605CEDC835  # odd, so that multiples spread over all bits
    top = 1 << family.bits
    prefixes = [(step * n >> (128 - family.bits)) % top & ~1 for n in range(1, 257)]
    allow = [Network(family, prefix, family.bits - 1) for prefix in prefixes]
    kind = socket.AF_INET if family is Family.IPV4 else socket.AF_INET6
    try:
        sock = socket.socket(kind, socket.SOCK_DGRAM)
    except OSError as error:
        pytest.skip(f"no IPv{family.value} here: {error}")
    with sock:
        try:
            bpf.attach(sock, line_filter(family, allow, Terminator))
        except OperatingSystemError as error:
            # Before Linux 6.7 the default of net.core.optmem_max was 20480.
            if "optmem_max" in str(error):
                pytest.skip(str(error))
            raise


def test_too_large_for_the_kernels_memory_says_what_to_raise() -> None:
    class Full(socket.socket):
        def setsockopt(self, *_: object) -> None:
            raise OSError(errno.ENOMEM, "Cannot allocate memory")

    message = r"optmem_max.*sources\.allow"
    with (
        Full(socket.AF_INET, socket.SOCK_DGRAM) as sock,
        pytest.raises(OperatingSystemError, match=message),
    ):
        bpf.attach(sock, ACCEPT_ALL)


def test_without_the_privilege_it_says_which() -> None:
    before = os.geteuid()
    refusal = None
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as sock:
        if before == 0:
            os.seteuid(65534)  # also drops the effective capabilities
        try:
            bpf.attach(sock, ACCEPT_ALL)
        except PrivilegeError as error:
            refusal = str(error)
        finally:
            os.seteuid(before)
    if refusal is None:
        pytest.skip("this kernel lets anyone filter a TCP socket")
    assert "CAP_NET_ADMIN" in refusal


def test_what_the_kernel_refuses_is_reported() -> None:
    never_returns = (Instruction(0, 0, 0, 0),)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        for program in ((), never_returns):
            with pytest.raises(OperatingSystemError, match="refuses the packet filter"):
                bpf.attach(sock, program)
        with pytest.raises(OperatingSystemError, match="4097 instructions"):
            bpf.attach(sock, ACCEPT_ALL * 4097)
        # 65537 instructions must not become one.
        with pytest.raises(OperatingSystemError, match="65537 instructions"):
            bpf.attach(sock, ACCEPT_ALL * 65537)
    with pytest.raises(OperatingSystemError, match="cannot be locked"):
        bpf.lock(sock)


def test_after_the_lock_it_stays(
    listener: socket.socket, tcp4: Callable[[], socket.socket]
) -> None:
    for option in (SO_DETACH_FILTER, SO_LOCK_FILTER):
        with pytest.raises(PermissionError):
            listener.setsockopt(socket.SOL_SOCKET, option, 0)
    with pytest.raises(
        OperatingSystemError, match=r"locked by an earlier run.*restart the socket unit"
    ):
        bpf.attach(listener, ACCEPT_ALL)
    test_only_a_listed_source_finishes_the_handshake(listener, tcp4)


def test_before_the_lock_it_could_be_taken_off(tcp4: Callable[[], socket.socket]) -> None:
    """The counter-test: without the filter the same packets pass."""
    with tcp4() as sock:
        bpf.attach(sock, ACCEPT_ALL)
        sock.setsockopt(socket.SOL_SOCKET, SO_DETACH_FILTER, 0)


def test_what_an_earlier_run_left_can_be_taken_off_and_nothing_left_is_no_error(
    tcp4: Callable[[], socket.socket],
) -> None:
    with tcp4() as sock:
        bpf.attach(sock, ACCEPT_ALL)
        bpf.detach(sock)
        with pytest.raises(FileNotFoundError):
            sock.setsockopt(socket.SOL_SOCKET, SO_DETACH_FILTER, 0)
        bpf.detach(sock)
        bpf.attach(sock, ACCEPT_ALL)
        bpf.lock(sock)
        with pytest.raises(OperatingSystemError, match="restart the socket unit"):
            bpf.detach(sock)


def test_an_accepted_socket_inherits_filter_and_lock(
    listener: socket.socket, tcp4: Callable[[], socket.socket]
) -> None:
    with tcp4() as sender:
        sender.bind((LISTED, 0))
        sender.connect(listener.getsockname())
        accepted, _ = listener.accept()
        with accepted, pytest.raises(PermissionError):
            accepted.setsockopt(socket.SOL_SOCKET, SO_DETACH_FILTER, 0)


@pytest.mark.parametrize("family", Family)
def test_between_hosts_only_a_listed_source_connects(hosts: Pair, family: Family) -> None:
    server, listed_host, unlisted_host, _ = HOSTS[family]
    kind = socket.AF_INET if family is Family.IPV4 else socket.AF_INET6
    allow = [network(each) for _, _, _, each in HOSTS.values()]
    with (
        hosts.server.socket(kind, socket.SOCK_STREAM) as listener,
        hosts.client.socket(kind, socket.SOCK_STREAM) as unlisted,
        hosts.client.socket(kind, socket.SOCK_STREAM) as listed,
    ):
        listener.bind((server, 79))
        bpf.attach(listener, source_filter(family, allow))
        bpf.lock(listener)
        listener.listen()
        call(unlisted, unlisted_host, (server, 79))
        call(listed, listed_host, (server, 79))
        assert ready(listed, select.POLLOUT)
        assert listed.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0
        # The datagram was not lost: it arrived, and the filter dropped it.
        wait_for_drops(listener, 1)
        assert not ready(unlisted, select.POLLOUT, 0)
        accepted, peer = listener.accept()
        accepted.close()
        assert peer[0] == listed_host


@pytest.mark.parametrize("family", Family)
def test_between_hosts_only_listed_datagrams_arrive(hosts: Pair, family: Family) -> None:
    server, listed_host, unlisted_host, allowed = HOSTS[family]
    kind = socket.AF_INET if family is Family.IPV4 else socket.AF_INET6
    with (
        hosts.server.socket(kind, socket.SOCK_DGRAM) as receiver,
        hosts.client.socket(kind, socket.SOCK_DGRAM) as unlisted,
        hosts.client.socket(kind, socket.SOCK_DGRAM) as listed,
    ):
        receiver.bind((server, 79))
        bpf.attach(receiver, line_filter(family, [network(allowed)], STRICT))
        for sock, host in ((unlisted, unlisted_host), (listed, listed_host)):
            sock.bind((host, 0))
            for data in (LINE[:-1], LINE, LINE + b"\n"):
                sock.sendto(data, (server, 79))
        assert ready(receiver, select.POLLIN)
        data, peer = receiver.recvfrom(64)
        assert (data, peer[0]) == (LINE, listed_host)
        wait_for_drops(receiver, 5)
        assert not ready(receiver, select.POLLIN, 0)
