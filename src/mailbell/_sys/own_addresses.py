"""Asks the kernel which addresses are this host's own (rtnetlink(7), netlink(7)).

The kernel is asked twice. The list of addresses also has those of links that are down now. The
routing table `local` also has whole networks that were made local, and the broadcast addresses:
`ip route show table local`.
"""

import errno
import os
import socket
import struct
from collections.abc import Iterator
from typing import Final

from mailbell.core.networks import Family, Network

__all__ = ["own_networks", "parse_replies"]

_HEADER: Final = struct.Struct("=IHHII")  # `struct nlmsghdr`
_ADDRESS: Final = struct.Struct("=BBBBI")  # `struct ifaddrmsg`
_ROUTE: Final = struct.Struct("=BBBBBBBBI")  # `struct rtmsg`
_ATTRIBUTE: Final = struct.Struct("=HH")  # `struct rtattr`
_ERROR: Final = struct.Struct("=i")

# linux/netlink.h
_SOL_NETLINK: Final = 270
_NETLINK_GET_STRICT_CHK: Final = 12
_NLM_F_REQUEST: Final = 0x1
_NLM_F_DUMP: Final = 0x300
_NLM_F_DUMP_INTR: Final = 0x10
_NLMSG_ERROR: Final = 2
_NLMSG_DONE: Final = 3
_NLA_TYPE_MASK: Final = 0x3FFF

# linux/rtnetlink.h
_RTM_NEWADDR: Final = 20
_RTM_GETADDR: Final = 22
_RTM_NEWROUTE: Final = 24
_RTM_GETROUTE: Final = 26
_RT_TABLE_LOCAL: Final = 255
_RTN_LOCAL: Final = 2
_RTN_BROADCAST: Final = 3
_RTN_ANYCAST: Final = 4
_RTA_DST: Final = 1

# linux/if_addr.h
_IFA_ADDRESS: Final = 1
_IFA_LOCAL: Final = 2
_IFA_BROADCAST: Final = 4
_IFA_ANYCAST: Final = 5

_FAMILIES: Final = {socket.AF_INET: Family.IPV4, socket.AF_INET6: Family.IPV6}
_LARGEST_REPLY: Final = 1 << 16  # bytes; the kernel sends at most half of it at once
_MOST_NETWORKS: Final = 1 << 16
_ATTEMPTS: Final = 5  # the kernel says when its list changed while it told it
_PATIENCE: Final = 5.0  # seconds; the kernel answers at once


class _ListChangedError(Exception):
    """The kernel's list changed while the kernel told it."""


def own_networks() -> tuple[Network, ...]:
    """Return all that is local to this host: addresses, local networks, broadcast addresses.

    Returns:
        Networks of both families, in order. Most of them contain one address.

    Raises:
        OSError: the kernel does not tell, or there are too many.
    """
    for _ in range(_ATTEMPTS):
        try:
            return _ask()
        except _ListChangedError:
            continue
    raise OSError(errno.EAGAIN, "the addresses of this host change all the time")


def _ask() -> tuple[Network, ...]:
    found: set[Network] = set()
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as sock:
        sock.settimeout(_PATIENCE)
        try:
            # The kernel then tells only the table that is asked for. A router has a million
            # other routes.
            sock.setsockopt(_SOL_NETLINK, _NETLINK_GET_STRICT_CHK, 1)
        except OSError as error:
            if error.errno != errno.ENOPROTOOPT:  # before Linux 4.20
                raise
        for family in _FAMILIES:
            _dump(sock, _RTM_GETADDR, _ADDRESS.pack(family, 0, 0, 0, 0), found)
            request = _ROUTE.pack(family, 0, 0, 0, _RT_TABLE_LOCAL, 0, 0, 0, 0)
            _dump(sock, _RTM_GETROUTE, request, found)
    return tuple(sorted(found, key=lambda one: (one.family, one.prefix, one.length)))


def _dump(sock: socket.socket, kind: int, request: bytes, found: set[Network]) -> None:
    header = _HEADER.pack(_HEADER.size + len(request), kind, _NLM_F_REQUEST | _NLM_F_DUMP, kind, 0)
    sock.sendall(header + request)
    while True:
        networks, done = parse_replies(sock.recv(_LARGEST_REPLY))
        found |= networks
        if len(found) > _MOST_NETWORKS:
            raise OSError(errno.E2BIG, "this host has too many addresses")
        if done:
            return


def parse_replies(data: bytes) -> tuple[set[Network], bool]:
    """Read one datagram of the kernel.

    Args:
        data: messages of rtnetlink(7).

    Returns:
        The networks in it that are local to this host, and whether it is the last datagram.

    Raises:
        OSError: the kernel reports an error, or a message has another form than the kernel's.
    """
    try:
        return _parse(data)
    except (struct.error, LookupError, ValueError, OverflowError) as error:
        raise OSError(errno.EBADMSG, os.strerror(errno.EBADMSG)) from error


def _parse(data: bytes) -> tuple[set[Network], bool]:
    found: set[Network] = set()
    done = False
    for kind, flags, body in _messages(data):
        if flags & _NLM_F_DUMP_INTR:
            raise _ListChangedError
        if kind == _NLMSG_ERROR:
            (negative,) = _ERROR.unpack_from(body)
            raise OSError(-negative, os.strerror(-negative))
        done |= kind == _NLMSG_DONE
        if kind == _RTM_NEWADDR:
            found.update(_addresses(body))
        elif kind == _RTM_NEWROUTE:
            found.update(_local_route(body))
    return found, done


def _messages(data: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Split a datagram into messages: kind, flags, body."""
    while len(data) >= _HEADER.size:
        length, kind, flags, _, _ = _HEADER.unpack_from(data)
        if not _HEADER.size <= length <= len(data):
            return
        yield kind, flags, data[_HEADER.size : length]
        data = data[_aligned(length) :]


def _addresses(body: bytes) -> Iterator[Network]:
    family = _FAMILIES[socket.AddressFamily(_ADDRESS.unpack_from(body)[0])]
    attributes = dict(_attributes(body[_ADDRESS.size :]))
    # On a point-to-point link, IFA_ADDRESS is the address of the other end.
    own = attributes.get(_IFA_LOCAL, attributes.get(_IFA_ADDRESS))
    for value in (own, attributes.get(_IFA_BROADCAST), attributes.get(_IFA_ANYCAST)):
        if value is not None:
            yield _network(family, value, family.bits)


def _local_route(body: bytes) -> Iterator[Network]:
    family, length, _, _, table, _, _, kind, _ = _ROUTE.unpack_from(body)
    if table != _RT_TABLE_LOCAL or kind not in {_RTN_LOCAL, _RTN_BROADCAST, _RTN_ANYCAST}:
        return
    destination = dict(_attributes(body[_ROUTE.size :])).get(_RTA_DST, b"")
    yield _network(_FAMILIES[socket.AddressFamily(family)], destination, length)


def _network(family: Family, address: bytes, length: int) -> Network:
    """Return a network. The kernel leaves out the address of all addresses.

    Raises:
        ValueError: the address is one of another family, or the length is too long.
    """
    if len(address) * 8 not in {0, family.bits} or length > family.bits:
        raise ValueError
    return Network(family, int.from_bytes(address, "big"), length)


def _attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    while len(data) >= _ATTRIBUTE.size:
        length, kind = _ATTRIBUTE.unpack_from(data)
        if not _ATTRIBUTE.size <= length <= len(data):
            return
        yield kind & _NLA_TYPE_MASK, data[_ATTRIBUTE.size : length]
        data = data[_aligned(length) :]


def _aligned(length: int) -> int:
    return (length + 3) & ~3  # NLMSG_ALIGN and RTA_ALIGN
