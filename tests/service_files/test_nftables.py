"""The example of a packet filter, loaded by nft: real packets between two hosts."""

import json
import re
import select
import shutil
import socket
import struct
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from harness.daemon import until
from harness.netns import Pair, namespaces
from harness.sender import PATIENCE
from service_files.units import POLICY, require

from mailbell.listener.configuration import parse

EXAMPLE = POLICY / "nftables" / "mailbell.nft"
RATE, BURST = map(int, re.findall(r"limit rate over (\d+)/second burst (\d+) packets",
                                  EXAMPLE.read_text())[0])  # fmt: skip
FLOOD = 3 * BURST

# The server; a source, another one in the same /64, and one in another network.
SERVER = ("192.0.2.1/24", "2001:db8::1/32")
IPV4 = ("192.0.2.2", "192.0.2.3")
IPV6 = ("2001:db8:0:1::2", "2001:db8:0:2::2")
NEIGHBOUR = "2001:db8:0:1::3"
CLIENT = (*(f"{a}/24" for a in IPV4), *(f"{a}/32" for a in (*IPV6, NEIGHBOUR)))
# An ordinary user of Debian has no sbin folder in PATH.
NFT = shutil.which("nft", path="/usr/sbin:/sbin:/usr/bin:/bin") or "nft"
FAMILIES = [
    pytest.param(socket.AF_INET, "192.0.2.1", *IPV4, id="ipv4"),
    pytest.param(socket.AF_INET6, "2001:db8::1", *IPV6, id="ipv6"),
]


@contextmanager
def filtered(example: Path = EXAMPLE) -> Iterator[Pair]:
    """Two hosts. One has the filter, and there every user may listen on port 79."""
    require("nft")
    with namespaces(SERVER, CLIENT) as hosts:
        hosts.server.run("sh", "-c", "echo 79 >/proc/sys/net/ipv4/ip_unprivileged_port_start")
        hosts.server.run(NFT, "--check", "--file", str(example))
        for _ in "twice":  # the second load replaces the first
            hosts.server.run(NFT, "--file", str(example))
        yield hosts


def dropped(hosts: Pair, counter: str = "too_often") -> int:
    """Return the packets that the filter itself has counted."""
    said = hosts.server.run(NFT, "--json", "list", "counter", "inet", "mailbell", counter)
    (found,) = (entry["counter"] for entry in json.loads(said)["nftables"] if "counter" in entry)
    return int(found["packets"])


@contextmanager
def listening(hosts: Pair, family: int, kind: int, address: str) -> Iterator[socket.socket]:
    with hosts.server.socket(family, kind) as sock:
        sock.bind((address, 79))
        if kind == socket.SOCK_STREAM:
            sock.listen(4 * FLOOD)
        yield sock


def calling(hosts: Pair, family: int, source: str, target: str) -> socket.socket:
    """Begin a handshake."""
    sock = hosts.client.socket(family, socket.SOCK_STREAM)
    sock.setblocking(False)
    sock.bind((source, 0))
    sock.connect_ex((target, 79))
    return sock


def through(calls: list[socket.socket], timeout: float = 0) -> int:
    """Return how many handshakes are complete."""
    done = select.select([], calls, [], timeout)[1]
    assert not [sock for sock in done if sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)]
    return len(done)


def passed_of_a_flood(hosts: Pair, stack: ExitStack, sources: Sequence[str], target: str) -> int:
    """Begin many handshakes at once, from these sources in turn; return how many were completed.

    The test fails if they are more than one source may have. The clock is an upper bound:
    on a slow machine more are permitted, and never fewer.
    """
    family = socket.AF_INET6 if ":" in target else socket.AF_INET
    began = time.monotonic()
    calls = [
        stack.enter_context(calling(hosts, family, sources[n % len(sources)], target))
        for n in range(FLOOD)
    ]
    until(lambda: through(calls) + dropped(hosts) >= FLOOD)
    passed = through(calls)
    assert passed <= BURST + RATE * (time.monotonic() - began) + 1
    return passed


def sent_again(sock: socket.socket) -> int:
    """Return how many packets were sent again: tcpi_total_retrans, linux/tcp.h."""
    (count,) = struct.unpack_from(
        "=I", sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104), 100
    )
    return int(count)


@pytest.mark.parametrize(("family", "target", "source", "other"), FAMILIES)
def test_who_connects_too_often_is_dropped_and_another_gets_through(
    family: int, target: str, source: str, other: str
) -> None:
    with (
        filtered() as hosts,
        listening(hosts, family, socket.SOCK_STREAM, target),
        ExitStack() as stack,
    ):
        # The hosts know each other before this, so a packet that is sent again below was dropped.
        with calling(hosts, family, other, target) as first:
            assert through([first], PATIENCE)
        assert BURST <= passed_of_a_flood(hosts, stack, [source], target) < FLOOD
        with calling(hosts, family, other, target) as let_in:
            assert through([let_in], PATIENCE)
            assert sent_again(let_in) == 0


def test_a_whole_network_of_ipv6_is_one_source() -> None:
    target = "2001:db8::1"
    with (
        filtered() as hosts,
        listening(hosts, socket.AF_INET6, socket.SOCK_STREAM, target),
        ExitStack() as stack,
    ):
        assert passed_of_a_flood(hosts, stack, [IPV6[0], NEIGHBOUR], target) < FLOOD


@pytest.mark.parametrize(("family", "target", "source", "other"), FAMILIES)
def test_datagrams_are_metered_too(family: int, target: str, source: str, other: str) -> None:
    with (
        filtered() as hosts,
        listening(hosts, family, socket.SOCK_DGRAM, target) as server,
        hosts.client.socket(family, socket.SOCK_DGRAM) as flooding,
        hosts.client.socket(family, socket.SOCK_DGRAM) as good,
    ):
        flooding.bind((source, 0))
        good.bind((other, 0))
        began = time.monotonic()
        for _ in range(FLOOD):
            flooding.sendto(b"flood", (target, 79))
        most = BURST + RATE * (time.monotonic() - began) + 1
        good.sendto(b"last", (target, 79))
        server.settimeout(PATIENCE)
        heard = 0
        while server.recv(16) != b"last":
            heard += 1
        assert BURST <= heard <= most
        assert heard + dropped(hosts) == FLOOD


@pytest.mark.parametrize(("family", "target", "source", "other"), FAMILIES)
def test_the_list_of_senders_keeps_all_others_out(
    tmp_path: Path, family: int, target: str, source: str, other: str
) -> None:
    example = tmp_path / "mailbell.nft"
    text = EXAMPLE.read_text()
    for everybody, one in (("0.0.0.0/0", IPV4[1]), ("::/0", IPV6[1])):
        assert everybody in text
        text = text.replace(everybody, one)
    example.write_text(text)
    with (
        filtered(example) as hosts,
        listening(hosts, family, socket.SOCK_STREAM, target),
        calling(hosts, family, source, target) as shut_out,
    ):
        until(lambda: dropped(hosts, "unlisted"))
        with calling(hosts, family, other, target) as let_in:
            assert through([let_in], PATIENCE)
        assert not through([shut_out])
        assert dropped(hosts) == 0


def test_other_ports_are_left_alone() -> None:
    with (
        filtered() as hosts,
        hosts.server.socket(socket.AF_INET, socket.SOCK_STREAM) as server,
        ExitStack() as stack,
    ):
        server.bind(("192.0.2.1", 7979))
        server.listen(FLOOD)
        for _ in range(FLOOD):
            sock = stack.enter_context(hosts.client.socket(socket.AF_INET, socket.SOCK_STREAM))
            sock.settimeout(PATIENCE)
            sock.connect(("192.0.2.1", 7979))
        assert dropped(hosts) == dropped(hosts, "unlisted") == 0


def test_it_lets_through_all_that_the_daemon_would() -> None:
    limits = parse(b"").limits
    every = set(re.findall(r"limit rate over (\d+)/second burst (\d+) packets",
                           EXAMPLE.read_text()))  # fmt: skip
    assert every == {(str(int(2 * limits.rate)), str(2 * limits.burst))}
