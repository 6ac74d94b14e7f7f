"""The kernel's filters, evaluated, accept what the grammar and `ipaddress` accept, and no more.

An input is a choice of terminators, networks that may send, translators, one source and a
datagram. The filters of both sockets are built of them. An interpreter that was written from the
kernel's documentation runs them. The tests of the listener show the same in the kernel.
"""

import ipaddress
from collections.abc import Sequence

from harness.bpf import Code, evaluate

from mailbell._sys.bpf_program import MAX_INSTRUCTIONS
from mailbell.core.networks import Family, Network
from mailbell.core.outcome import Outcome
from mailbell.core.rfc4146 import Terminator, parse_datagram
from mailbell.core.translation import WELL_KNOWN, Translation
from mailbell.listener._packet_filter import line_filter, merge, source_filter

_MOST = 6  # networks
_ALL = 0xFFFF_FFFF
_UDP_HEADER = bytes(8)
# What docs/protocol.md says of IPv4 addresses behind a translator.
_NEVER = ("0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/3")
_PRIVATE = ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10")

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class Cursor:
    """Takes an input apart from its beginning; what is missing is zeros."""

    def __init__(self, data: bytes) -> None:
        self.rest = data

    def byte(self) -> int:
        """Returns the next byte."""
        return self.number(1)

    def number(self, size: int) -> int:
        """Returns the number that the next bytes are."""
        taken, self.rest = self.rest[:size], self.rest[size:]
        return int.from_bytes(taken.ljust(size, b"\0"), "big")


def network(cursor: Cursor) -> Network:
    """Returns a network: its family and its length are one byte, its address follows."""
    choice = cursor.byte()
    family = Family.IPV6 if choice & 0x80 else Family.IPV4
    length = (choice & 0x7F) * (4 if family is Family.IPV6 else 1) % (family.bits + 1)
    shift = family.bits - length
    return Network(family, cursor.number(family.bits // 8) >> shift << shift, length)


def contains(each: Network, address: _Address) -> bool:
    """Tells by `ipaddress` whether a network has an address."""
    return address in ipaddress.ip_network((address_of(each.family, each.prefix), each.length))


def address_of(family: Family, value: int) -> _Address:
    """Returns an address of the standard library."""
    return ipaddress.IPv4Address(value) if family is Family.IPV4 else ipaddress.IPv6Address(value)


def is_listed(address: _Address, allow: Sequence[Network], prefixes: Sequence[Network]) -> bool:
    """Tells whether a source may send, in the slow and obvious way."""
    if not allow or any(contains(each, address) for each in allow):
        return True
    inner = ipaddress.IPv4Address(int(address) & _ALL)
    return any(
        contains(prefix, address) and stands(prefix, inner) and contains(each, inner)
        for prefix in prefixes
        for each in allow
    )


def stands(prefix: Network, inner: ipaddress.IPv4Address) -> bool:
    """Tells whether an address under a translator's prefix stands for an IPv4 address."""
    excluded = (*_NEVER, *_PRIVATE) if prefix == WELL_KNOWN else _NEVER
    return not any(inner in ipaddress.IPv4Network(text) for text in excluded)


def packet(address: _Address) -> bytes:
    """Returns a packet from its network header on, as far as its addresses."""
    if isinstance(address, ipaddress.IPv4Address):
        return bytes(12) + address.packed + bytes(4)
    return bytes(8) + address.packed + bytes(16)


def run(program: Sequence[Code], data: bytes, address: _Address) -> bool:
    """Returns the verdict. A packet is kept whole or dropped."""
    assert len(program) <= MAX_INSTRUCTIONS
    verdict = evaluate(program, data, network=packet(address))
    assert verdict in {0, _ALL}
    return verdict == _ALL


def check_merged(address: _Address, allow: Sequence[Network]) -> None:
    """Compares the least number of networks with those that are listed."""
    merged = merge(allow)
    assert len(merged) <= len(allow)
    assert any(contains(each, address) for each in merged) == any(
        contains(each, address) for each in allow
    )


def check(data: bytes) -> None:
    """Raises AssertionError when an input breaks the invariant."""
    cursor = Cursor(data)
    choice = cursor.byte()
    terminators = frozenset(name for bit, name in enumerate(Terminator) if choice >> bit & 1)
    family = Family.IPV6 if choice & 8 else Family.IPV4
    allow = [network(cursor) for _ in range(cursor.byte() % (_MOST + 1))]
    own = [
        Network(Family.IPV6, cursor.number(12) << 32, WELL_KNOWN.length)
        for _ in range(choice >> 4 & 1)
    ]
    translation = Translation(own)
    source = address_of(family, cursor.number(family.bits // 8))
    if choice & 0x20 and allow:  # near a listed network
        near = allow[0].prefix ^ int(source) >> (allow[0].length % family.bits)
        source = address_of(family, near % (1 << family.bits))
    listed = is_listed(source, allow, translation.prefixes if family is Family.IPV6 else ())
    check_merged(source, allow)
    syn = cursor.rest  # the filter for TCP looks at no byte of it
    assert run(source_filter(family, allow, translation), syn, source) == listed
    good = parse_datagram(cursor.rest, terminators) is Outcome.ACCEPTED
    program = line_filter(family, allow, terminators, translation)
    assert run(program, _UDP_HEADER + cursor.rest, source) == (listed and good)
