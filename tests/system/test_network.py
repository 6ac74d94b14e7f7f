"""Real hosts in network namespaces: which are served, and which cannot finish a handshake."""

import os
import select
import socket
from pathlib import Path

import pytest
from harness.daemon import Daemon, configuration, started, until
from harness.netns import Namespace, namespaces
from harness.sender import LINE, PATIENCE, unread

SERVER = ("192.0.2.1/24", "2001:db8::1/64")
CLIENT = ("192.0.2.2/24", "192.0.2.3/24", "2001:db8::2/64", "2001:db8::3/64")
ALLOW = '[sources]\nallow = ["192.0.2.2", "2001:db8::2"]'

FAMILIES = [
    pytest.param(socket.AF_INET, "192.0.2.1", "192.0.2.2", "192.0.2.3", id="ipv4"),
    pytest.param(socket.AF_INET6, "2001:db8::1", "2001:db8::2", "2001:db8::3", id="ipv6"),
]


def calling(host: Namespace, family: int, source: str, target: str) -> socket.socket:
    """Begin a handshake from one of a host's addresses."""
    sock = host.socket(family, socket.SOCK_STREAM)
    sock.setblocking(False)
    sock.bind((source, 0))
    sock.connect_ex((target, 7979))
    return sock


@pytest.mark.parametrize(("family", "target", "listed", "stranger"), FAMILIES)
def test_only_a_listed_source_can_shake_hands_and_ring(
    tmp_path: Path, family: int, target: str, listed: str, stranger: str
) -> None:
    toml = configuration(tmp_path, tcp=["0.0.0.0:7979", "[::]:7979"], more=ALLOW)
    with (
        namespaces(SERVER, CLIENT) as pair,
        started(tmp_path, toml, command=pair.server.visit) as daemon,
        calling(pair.client, family, stranger, target) as shut_out,
    ):
        # The listed source connected later and is accepted, so the other one had enough time.
        with calling(pair.client, family, listed, target) as let_in:
            assert select.select([], [let_in], [], PATIENCE)[1]
            let_in.sendall(LINE)
            until(lambda: daemon.counted().get("accepted") == 1)
        if not in_the_kernel(daemon):
            require_not_listened_to(shut_out, daemon)
            return
        assert not select.select([], [shut_out], [], 0)[1]
        # The kernel dropped its SYN: the daemon neither refused nor counted it.
        assert shut_out.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0
        assert daemon.counted() == {"accepted": 1}


def in_the_kernel(daemon: Daemon) -> bool:
    """Return whether the kernel enforces the list, as it must if root started the daemon.

    Newer kernels demand CAP_NET_ADMIN to filter a TCP socket. The daemon of an ordinary
    user does not have it. Then it says so, and enforces the list itself.
    """
    says_not = any("event=kernel_filter_missing" in line for line in daemon.lines())
    assert not says_not or os.geteuid() != 0
    return not says_not


def require_not_listened_to(sock: socket.socket, daemon: Daemon) -> None:
    assert select.select([], [sock], [], PATIENCE)[1]
    sock.sendall(LINE)
    until(lambda: daemon.counted() == {"accepted": 1, "unlisted_source": 1})
    assert unread(sock) == b""
    assert daemon.status().wakeups == 1


@pytest.mark.parametrize(("family", "target", "listed", "stranger"), FAMILIES)
def test_of_datagrams_only_a_listed_sources_exact_line_arrives(
    tmp_path: Path, family: int, target: str, listed: str, stranger: str
) -> None:
    toml = configuration(
        tmp_path, tcp=["127.0.0.1:0"], udp=["0.0.0.0:7979", "[::]:7979"], more=ALLOW
    )
    with (
        namespaces(SERVER, CLIENT) as pair,
        started(tmp_path, toml, command=pair.server.visit) as daemon,
    ):
        for source, payload in ((stranger, LINE), (listed, b"garbage"), (listed, LINE)):
            with pair.client.socket(family, socket.SOCK_DGRAM) as sock:
                sock.bind((source, 0))
                sock.sendto(payload, (target, 7979))
        until(lambda: daemon.counted("udp") == {"accepted": 1})
        assert daemon.status().kernel_dropped == 2
