"""Which addresses the machine has: the kernel's messages, read (rtnetlink(7), netlink(7)).

The kernel announces an address when it is added, and again whenever anything
about it changes: each router advertisement and each renewal of a lease prolongs
it, on some networks every few seconds. Only the first is an address that
appeared. So what is there already is remembered, and asked for at the beginning.

Pure: bytes come in, and what they mean goes out.
"""

import ipaddress
import struct
from collections.abc import Iterator
from typing import Final

__all__ = ["GROUPS", "LIST_ADDRESSES", "Addresses"]

# linux/rtnetlink.h: RTMGRP_IPV4_IFADDR and RTMGRP_IPV6_IFADDR.
GROUPS: Final = 0x10 | 0x100
"""What a socket is bound to so that it hears of addresses."""

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
_RT_SCOPE_LINK: Final = 253  # larger: within the machine, or nowhere

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
"""The request to tell all addresses that are there."""

_Key = tuple[int, bytes]  # interface, address


class Addresses:
    """The addresses by which the machine reaches others.

    Not those of one link, or of the machine alone, and none that must not be
    used: not yet because another may have it, or not any more.
    """

    def __init__(self) -> None:
        self._known: set[_Key] = set()

    def receive(self, data: bytes) -> bool:
        """Take what the kernel sent.

        Args:
            data: a datagram of the kernel's. What makes no sense in it is left out.

        Returns:
            Whether an address appeared.
        """
        appeared = False
        for message in _messages(data):
            appeared |= self._note(*message)
        return appeared

    def forget(self) -> None:
        """Know nothing any more: messages were lost. Ask for the list again."""
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
        # The flag marks parts of the list that was asked for: those were there before.
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
    """Read of which address a message is, and whether it is one to reach others by."""
    if len(body) < _ADDRESS.size:
        return None
    _, _, flags, scope, interface = _ADDRESS.unpack_from(body)
    attributes = dict(_attributes(body[_ADDRESS.size :]))
    # Of a point-to-point link IFA_ADDRESS is the other end.
    address = attributes.get(_IFA_LOCAL, attributes.get(_IFA_ADDRESS, b""))
    if len(attributes.get(_IFA_FLAGS, b"")) == _FLAGS.size:  # all of them, not the first eight
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
    # The scope is what whoever added the address says; many say nothing, and it is global.
    parsed = ipaddress.ip_address(address)
    return not (parsed.is_loopback or parsed.is_link_local)


def _aligned(length: int) -> int:
    return (length + 3) & ~3  # NLMSG_ALIGN and RTA_ALIGN
