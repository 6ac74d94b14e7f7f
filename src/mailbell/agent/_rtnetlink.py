"""Reads the kernel's messages about the machine's addresses (rtnetlink(7), netlink(7)).

The kernel announces an address when it is added, and again after each change: a router
advertisement or the renewal of a lease prolongs an address, on some networks every few
seconds. Only the first announcement is a new address. So this remembers the addresses,
and the agent asks for all of them at the beginning.

Pure: bytes come in, and their meaning goes out.
"""

import ipaddress
import struct
from collections.abc import Iterator
from typing import Final

__all__ = ["GROUPS", "LIST_ADDRESSES", "Addresses"]

# linux/rtnetlink.h: RTMGRP_IPV4_IFADDR and RTMGRP_IPV6_IFADDR.
GROUPS: Final = 0x10 | 0x100
"""The groups to bind a socket to, so that it receives messages about addresses."""

_HEADER: Final = struct.Struct("=IHHII")  # `struct nlmsghdr`
_ADDRESS: Final = struct.Struct("=BBBBI")  # `struct ifaddrmsg`
_ATTRIBUTE: Final = struct.Struct("=HH")  # `struct rtattr`
_FLAGS: Final = struct.Struct("=I")

# linux/netlink.h
_NLM_F_REQUEST: Final = 0x1
_NLM_F_MULTI: Final = 0x2
_NLM_F_DUMP: Final = 0x300
_NLA_TYPE_MASK: Final = 0x3FFF

# linux/rtnetlink.h
_RTM_NEWADDR: Final = 20
_RTM_DELADDR: Final = 21
_RTM_GETADDR: Final = 22
_RT_SCOPE_LINK: Final = 253  # a larger scope is within the machine, or nowhere

# linux/if_addr.h
_IFA_ADDRESS: Final = 1
_IFA_LOCAL: Final = 2
_IFA_FLAGS: Final = 8
_IFA_F_DADFAILED: Final = 0x08
_IFA_F_DEPRECATED: Final = 0x20
_IFA_F_TENTATIVE: Final = 0x40
_UNUSABLE: Final = _IFA_F_DADFAILED | _IFA_F_DEPRECATED | _IFA_F_TENTATIVE

LIST_ADDRESSES: Final = _HEADER.pack(
    _HEADER.size + _ADDRESS.size, _RTM_GETADDR, _NLM_F_REQUEST | _NLM_F_DUMP, 1, 0
) + bytes(_ADDRESS.size)
"""The request for all present addresses."""

_Key = tuple[int, bytes]  # interface, address


class Addresses:
    """The addresses by which the machine reaches other networks.

    Addresses of one link or of the machine alone do not count. Nor do addresses that the
    machine may not use: the kernel still checks for duplicates, or they are deprecated.
    """

    def __init__(self) -> None:
        self._known: set[_Key] = set()

    def receive(self, data: bytes) -> bool:
        """Take a datagram of the kernel.

        Args:
            data: the datagram. Malformed parts of it are ignored.

        Returns:
            Whether it announces a new address.
        """
        appeared = False
        for message in _messages(data):
            appeared |= self._note(*message)
        return appeared

    def forget(self) -> None:
        """Forget all addresses, because messages were lost. The caller asks for all again."""
        self._known.clear()

    def _note(self, kind: int, flags: int, body: bytes) -> bool:
        found = _read(body) if kind in {_RTM_NEWADDR, _RTM_DELADDR} else None
        if found is None:
            return False
        key, usable = found
        if kind == _RTM_DELADDR or not usable:
            self._known.discard(key)
            return False
        is_new = key not in self._known
        self._known.add(key)
        # The flag marks answers to the request for all addresses: these are not new.
        return is_new and not flags & _NLM_F_MULTI


def _messages(data: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Split a datagram into messages: kind, flags, body."""
    while len(data) >= _HEADER.size:
        length, kind, flags, _, _ = _HEADER.unpack_from(data)
        if not _HEADER.size <= length <= len(data):
            return
        yield kind, flags, data[_HEADER.size : length]
        data = data[_aligned(length) :]


def _read(body: bytes) -> tuple[_Key, bool] | None:
    """Return the address of a message, and whether other networks are reached by it."""
    if len(body) < _ADDRESS.size:
        return None
    _, _, flags, scope, interface = _ADDRESS.unpack_from(body)
    attributes = dict(_attributes(body[_ADDRESS.size :]))
    # On a point-to-point link, IFA_ADDRESS is the address of the other end.
    address = attributes.get(_IFA_LOCAL, attributes.get(_IFA_ADDRESS, b""))
    if len(attributes.get(_IFA_FLAGS, b"")) == _FLAGS.size:  # all flags; the header has eight
        (flags,) = _FLAGS.unpack(attributes[_IFA_FLAGS])
    if len(address) not in {4, 16}:
        return None
    is_usable = scope < _RT_SCOPE_LINK and not flags & _UNUSABLE
    return (interface, address), is_usable and _leads_out(address)


def _attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    while len(data) >= _ATTRIBUTE.size:
        length, kind = _ATTRIBUTE.unpack_from(data)
        if not _ATTRIBUTE.size <= length <= len(data):
            return
        yield kind & _NLA_TYPE_MASK, data[_ATTRIBUTE.size : length]
        data = data[_aligned(length) :]


def _leads_out(address: bytes) -> bool:
    # The program that adds an address sets its scope. Many set none, and it is global.
    parsed = ipaddress.ip_address(address)
    return not (parsed.is_loopback or parsed.is_link_local)


def _aligned(length: int) -> int:
    return (length + 3) & ~3  # NLMSG_ALIGN and RTA_ALIGN
