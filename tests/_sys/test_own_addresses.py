"""What is local to a host: asked of the real kernel, in network namespaces with known addresses."""

import errno
import socket
import struct
import sys

import pytest
from harness.netns import namespaces

from mailbell._sys import own_addresses
from mailbell._sys.own_addresses import own_networks, parse_replies
from mailbell.core.networks import Network

ASK = "from mailbell._sys.own_addresses import own_networks; print(*own_networks())"


def message(kind: int, body: bytes = b"", flags: int = 0) -> bytes:
    return struct.pack("=IHHII", 16 + len(body), kind, flags, 1, 0) + body


def test_a_host_with_addresses_of_every_kind() -> None:
    """Links that are down, other ends of links, broadcast addresses, and networks made local."""
    with namespaces(["192.0.2.1/24", "2001:db8::1/64"], ["192.0.2.2/24"]) as pair:
        host = pair.server
        host.run("ip", "link", "add", "down0", "type", "veth", "peer", "name", "down1")
        host.run("ip", "address", "add", "198.51.100.7/24", "brd", "+", "dev", "down0")
        host.run("ip", "address", "add", "10.0.0.1", "peer", "10.0.0.2", "dev", "down0")
        host.run("ip", "route", "add", "local", "203.0.113.0/28", "dev", "lo")
        # Local to this host for marked packets alone: another table.
        host.run("ip", "route", "add", "local", "0.0.0.0/0", "dev", "lo", "table", "100")
        host.run("ip", "route", "add", "2001:db8:9::/64", "dev", "lo")
        found = set(host.run(sys.executable, "-c", ASK).split())
    assert {
        "127.0.0.0/8", "127.0.0.1", "127.255.255.255", "::1",
        "192.0.2.1", "192.0.2.255", "2001:db8::1",
        "198.51.100.7", "198.51.100.255",
        "10.0.0.1",
        "203.0.113.0/28",
    } <= found  # fmt: skip
    others = {"192.0.2.2", "10.0.0.2", "0.0.0.0/0", "2001:db8:9::/64", "192.0.2.0/24", "ff00::/8"}
    assert not others & found


def test_this_machine_knows_itself_without_a_privilege() -> None:
    found = own_networks()
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
    assert Network.parse("127.0.0.1") in found
    assert len(set(found)) == len(found)


def test_a_kernel_without_the_strict_check_is_asked_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Linux before 4.20 tells the routes of every table. They are left out here."""
    monkeypatch.setattr(own_addresses, "_NETLINK_GET_STRICT_CHK", 999)
    assert set(own_networks()) >= {Network.parse("127.0.0.1"), Network.parse("127.0.0.0/8")}


def test_an_error_of_the_kernel_is_raised() -> None:
    denied = message(2, struct.pack("=i", -errno.EPERM) + bytes(16))
    with pytest.raises(PermissionError):
        parse_replies(denied)


def test_a_list_that_changes_while_it_is_told_is_asked_for_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    changed = message(20, bytes(8), flags=0x10)
    asked = []

    def parse(data: bytes) -> tuple[set[Network], bool]:
        asked.append(data)
        return parse_replies(changed if len(asked) == 1 else data)

    monkeypatch.setattr(own_addresses, "parse_replies", parse)
    assert Network.parse("127.0.0.1") in own_networks()


def test_a_list_that_always_changes_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    changed = message(20, bytes(8), flags=0x10)
    monkeypatch.setattr(own_addresses, "parse_replies", lambda _: parse_replies(changed))
    with pytest.raises(OSError, match="change all the time"):
        own_networks()


def test_too_many_addresses_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(own_addresses, "_MOST_NETWORKS", 1)
    with pytest.raises(OSError, match="too many"):
        own_networks()


def test_half_a_message_at_the_end_is_ignored() -> None:
    whole = message(3)
    assert parse_replies(whole + whole[:10]) == (set(), True)
    assert parse_replies(whole[:10]) == (set(), False)
    assert parse_replies(struct.pack("=IHHII", 999, 3, 0, 0, 0)) == (set(), False)


@pytest.mark.parametrize(
    "wrong",
    [
        message(20, b"\2"),
        message(20, bytes(8)),
        message(20, b"\x63" + bytes(7)),
        message(20, b"\2" + bytes(7) + struct.pack("=HH", 8 + 12, 1) + bytes(16)),
        message(24, b"\2"),
        message(24, bytes([2, 33, 0, 0, 255, 0, 0, 2]) + bytes(4)),
        message(24, bytes([10, 129, 0, 0, 255, 0, 0, 2]) + bytes(4)),
        message(2, b"\0"),
        message(2, struct.pack("=i", -(1 << 31))),
    ],
)
def test_a_message_that_is_none_of_the_kernels_is_an_error(wrong: bytes) -> None:
    with pytest.raises(OSError, match="Bad message"):
        parse_replies(wrong)
