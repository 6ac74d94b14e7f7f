"""The example of a packet filter, loaded by nft: real packets between two hosts."""

import json
import re
import select
import shutil
import socket
import struct
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from harness import forger
from harness.daemon import until
from harness.netns import Pair, another_host, namespaces
from harness.sender import LINE, PATIENCE
from service_files.units import POLICY, require, words_of

EXAMPLE = POLICY / "nftables" / "mailbell.nft"
# The stranger is at another cable, and forges the good sender's address.
FORGER = Path(forger.__file__)
NEAR, FAR = ("198.51.100.1/24", "2001:db9::1/32"), ("198.51.100.2/24", "2001:db9::2/32")
PER_SECOND = 200
# More than a bucket with mailbelld's default burst holds, or twice that.
SPENT = 60
# Counts what comes from the stranger, before any other filter sees it.
SEEN = """
table inet seen {
  counter forged { }
  chain input {
    type filter hook prerouting priority raw - 5; policy accept;
    iifname "cable1" counter name forged
  }
}
"""
CONNECTIONS = 6

SERVER = ("192.0.2.1/24", "2001:db8::1/32")
IPV4 = ("192.0.2.2", "192.0.2.3")
IPV6 = ("2001:db8:0:1::2", "2001:db8:0:2::2")
CLIENT = (*(f"{a}/24" for a in IPV4), *(f"{a}/32" for a in IPV6))
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


def counted(hosts: Pair, table: str, counter: str) -> int:
    """Return the packets that a filter itself has counted."""
    said = hosts.server.run(NFT, "--json", "list", "counter", "inet", table, counter)
    (found,) = (entry["counter"] for entry in json.loads(said)["nftables"] if "counter" in entry)
    return int(found["packets"])


@contextmanager
def listening(hosts: Pair, family: int, kind: int, address: str) -> Iterator[socket.socket]:
    with hosts.server.socket(family, kind) as sock:
        sock.bind((address, 79))
        if kind == socket.SOCK_STREAM:
            sock.listen()
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


def sent_again(sock: socket.socket) -> int:
    """Return how many packets were sent again: tcpi_total_retrans, linux/tcp.h."""
    (count,) = struct.unpack_from(
        "=I", sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104), 100
    )
    return int(count)


@contextmanager
def forged(hosts: Pair, path: Path, kind: str, source: str, target: str) -> Iterator[None]:
    """Let a stranger forge packets of a source. Enough of them have come when this begins."""
    (path / "seen.nft").write_text(SEEN)
    hosts.server.run(NFT, "--file", str(path / "seen.nft"))
    words = [source, target, kind, str(PER_SECOND), str(PATIENCE)]
    with another_host(hosts.server, NEAR, FAR) as stranger:
        process = stranger.popen([sys.executable, "-I", str(FORGER), *words])
        try:
            until(lambda: counted(hosts, "seen", "forged") >= SPENT, "forged packets")
            yield
            assert process.poll() is None
        finally:
            process.kill()
            process.wait()


@pytest.mark.parametrize("kind", ["udp", "syn", "ack"])
@pytest.mark.parametrize(("family", "target", "source", "other"), FAMILIES)
def test_who_forges_a_senders_address_cannot_silence_it(
    tmp_path: Path, family: int, target: str, source: str, other: str, kind: str
) -> None:
    with (
        filtered() as hosts,
        listening(hosts, family, socket.SOCK_STREAM, target) as server,
        listening(hosts, family, socket.SOCK_DGRAM, target) as receiver,
        hosts.client.socket(family, socket.SOCK_DGRAM) as sender,
    ):
        # The hosts know each other before this, so a packet that is sent again was dropped.
        with calling(hosts, family, other, target) as first:
            assert through([first], PATIENCE)
            server.accept()[0].close()
        sender.bind((source, 0))
        with forged(hosts, tmp_path, kind, source, target):
            for number in range(CONNECTIONS):
                assert connects_at_once(hosts, server, source, target)
                empty(receiver)  # it cannot overflow until the next datagram is in it
                sender.sendto(b"good %d" % number, (target, 79))
                assert heard(receiver) == b"good %d" % number
        assert counted(hosts, "mailbell", "unlisted") == 0


def connects_at_once(hosts: Pair, server: socket.socket, source: str, target: str) -> bool:
    """Return whether a connection needs no packet twice, and is accepted as its source's."""
    server.settimeout(PATIENCE)
    with calling(hosts, server.family, source, target) as good:
        assert through([good], PATIENCE)
        connection, address = server.accept()
        connection.close()
        return address[0] == source and sent_again(good) == 0


def empty(receiver: socket.socket) -> None:
    receiver.setblocking(False)
    with suppress(BlockingIOError):
        while True:
            receiver.recv(16)


def heard(receiver: socket.socket) -> bytes:
    """Return the next datagram that is not the stranger's."""
    receiver.settimeout(PATIENCE)
    while (data := receiver.recv(16)) == LINE:
        pass
    return data


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
        until(lambda: counted(hosts, "mailbell", "unlisted"))
        with calling(hosts, family, other, target) as let_in:
            assert through([let_in], PATIENCE)
        assert not through([shut_out])


def test_other_ports_are_left_alone(tmp_path: Path) -> None:
    with (
        filtered(keeps_all_out(tmp_path)) as hosts,
        hosts.server.socket(socket.AF_INET, socket.SOCK_STREAM) as server,
        hosts.client.socket(socket.AF_INET, socket.SOCK_STREAM) as sock,
    ):
        server.bind(("192.0.2.1", 7979))
        server.listen()
        sock.settimeout(PATIENCE)
        sock.connect(("192.0.2.1", 7979))
        assert counted(hosts, "mailbell", "unlisted") == 0


def keeps_all_out(directory: Path) -> Path:
    """Return the example with a list that has no host of these tests."""
    example = directory / "mailbell.nft"
    text = EXAMPLE.read_text().replace("0.0.0.0/0", "203.0.113.1").replace("::/0", "2001:dba::1")
    example.write_text(text)
    return example


def test_it_measures_no_source() -> None:
    """Whatever is measured before the handshake can be forged."""
    words = {word for line in words_of(EXAMPLE) for word in re.findall(r"[a-z]+", line)}
    assert not words & {"ct", "dynamic", "limit", "meter", "quota", "update"}
