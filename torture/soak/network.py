"""Mail servers and strangers who call mailbelld, well and badly."""

import random
import socket
import struct
from collections.abc import Sequence
from ipaddress import ip_network
from typing import Final

import trio

from torture.soak.house import IPV4, IPV6, LAPTOP, PORT
from torture.soak.load import Kind

__all__ = ["GARBAGE", "KINDS", "newcomer", "ring", "stranger"]

LINE: Final = b"nm_notifyuser\r\n"
GARBAGE: Final = (
    b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00", b"root\r\n", b"\r\n",
    b"", b"nm_notifyuser\n", b"nm_notifyuser", b"nm_notifyuser\rx", b"nm_notifyuser\r\nmore",
    b"NM_NOTIFYUSER\r\n", b"/W root\r\n", b"\xff" * 16, b"nm_notify user\r\n",
)  # fmt: skip
_KNOWN: Final = tuple(f"198.18.{net}.{host}" for net in (0, 1) for host in range(2, 12))
_LOUD: Final = ("198.19.255.7", "2001:db8:ffff::7", "198.18.0.99")
_BURST: Final = 30
_IPV4: Final = ip_network(IPV4)
_IPV6: Final = ip_network(IPV6)
_IPV6_FREEBIND: Final = 78  # linux/in6.h
_RESET: Final = struct.pack("ii", 1, 0)


def newcomer(chance: random.Random, version: int = 4) -> str:
    """Return an address that was hardly ever there before.

    Args:
        chance: chooses it.
        version: 4 or 6.
    """
    network = _IPV4 if version == 4 else _IPV6
    # The named networks, and those of the loud sources, are at the ends.
    margin = network.num_addresses // 64
    return str(network[chance.randrange(margin, network.num_addresses - margin)])


def stranger(address: str, kind: int) -> "trio.socket.SocketType":
    """Return a socket at an address of ours.

    Args:
        address: of either family.
        kind: SOCK_STREAM or SOCK_DGRAM.
    """
    if ":" not in address:
        return trio.socket.socket(socket.AF_INET, kind)
    sock = trio.socket.socket(socket.AF_INET6, kind)
    # Of IPv6 a socket takes no address that only a route makes local.
    sock.setsockopt(socket.IPPROTO_IPV6, _IPV6_FREEBIND, 1)
    return sock


def _there(address: str) -> tuple[str, int]:
    return LAPTOP[":" in address], PORT


async def ring(source: str, data: Sequence[bytes] = (LINE,), pause: float = 0.0) -> None:
    """Call mailbelld by TCP, and wait until it hangs up.

    Args:
        source: the address to come from.
        data: what to send.
        pause: seconds between the parts.
    """
    with stranger(source, socket.SOCK_STREAM) as sock:
        await sock.bind((source, 0))
        await sock.connect(_there(source))
        for number, part in enumerate(data):
            if number:
                await trio.sleep(pause)
            await sock.send(part)
        sock.shutdown(socket.SHUT_WR)
        while await sock.recv(4096):
            pass


async def _datagram(source: str, data: bytes) -> None:
    with stranger(source, socket.SOCK_DGRAM) as sock:
        await sock.bind((source, 0))
        await sock.sendto(data, _there(source))


async def _known(chance: random.Random) -> None:
    await ring(chance.choice(_KNOWN))


async def _known_by_udp(chance: random.Random) -> None:
    await _datagram(chance.choice(_KNOWN), LINE)


async def _new(chance: random.Random) -> None:
    await ring(newcomer(chance))


async def _new_ipv6(chance: random.Random) -> None:
    await ring(newcomer(chance, 6))


async def _new_by_udp(chance: random.Random) -> None:
    await _datagram(newcomer(chance, chance.choice((4, 6))), LINE)


async def _garbage(chance: random.Random) -> None:
    await ring(newcomer(chance, chance.choice((4, 6))), (chance.choice(GARBAGE),))


async def _garbage_by_udp(chance: random.Random) -> None:
    await _datagram(newcomer(chance, chance.choice((4, 6))), chance.choice(GARBAGE))


async def _too_long(chance: random.Random) -> None:
    size = chance.choice((17, 512, 65_536))
    if size == 65_536:
        await ring(newcomer(chance), (b"x" * size,))
    else:
        await _datagram(newcomer(chance), b"x" * size)


async def _loud(chance: random.Random) -> None:
    """One source sends more than it may, all at once."""
    source = chance.choice(_LOUD)
    async with trio.open_nursery() as nursery:
        for _ in range(_BURST):
            nursery.start_soon(_quietly, source)


async def _quietly(source: str) -> None:
    """Call; a source over its limit is closed, which may be an error in any place."""
    try:
        await ring(source)
    except OSError:
        return


async def _slow(chance: random.Random) -> None:
    """Send a line in two halves; some senders are slower than the daemon waits."""
    source, cut = newcomer(chance, chance.choice((4, 6))), chance.randrange(1, len(LINE))
    await ring(source, (LINE[:cut], LINE[cut:]), chance.uniform(0.5, 8))


async def _broken(chance: random.Random) -> None:
    """Break a connection off within its line."""
    source = newcomer(chance, chance.choice((4, 6)))
    with stranger(source, socket.SOCK_STREAM) as sock:
        await sock.bind((source, 0))
        await sock.connect(_there(source))
        await sock.send(LINE[: chance.randrange(len(LINE))])
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)


KINDS: Final = (
    Kind("notification by TCP, known source", 4, _known),
    Kind("notification by UDP, known source", 2, _known_by_udp),
    Kind("notification by TCP, new IPv4 source", 6, _new),
    Kind("notification by TCP, new IPv6 source", 14, _new_ipv6),
    Kind("notification by UDP, new source", 8, _new_by_udp),
    Kind("garbage by TCP", 3, _garbage),
    Kind("garbage by UDP", 2, _garbage_by_udp),
    Kind("message too long", 0.5, _too_long),
    Kind("source over its limit, 30 connections", 0.1, _loud),
    Kind("slow sender", 0.5, _slow),
    Kind("connection broken off", 0.5, _broken),
)
