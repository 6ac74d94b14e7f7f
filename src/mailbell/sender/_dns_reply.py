"""Reads what a name server answers. Only the resolver imports this, and with it dnspython.

Of dnspython it uses the reader of names and nothing more. The parts for record types would look
for a module for each type that a server makes up, and keep what they found for ever.

Source: RFC 1035, section 4.1; RFC 2308, sections 2 and 5; RFC 3596, section 2.
"""

import struct
from typing import Final

import dns.exception
import dns.name

from mailbell.core.networks import Address, Family
from mailbell.sender._inquiries import IPV4, Reply
from mailbell.sender._names import LONGEST, Reason

__all__ = ["read_reply"]

_INTERNET: Final = 1  # the class IN
_CNAME: Final = 5
_SOA: Final = 6
_NO_ERROR: Final = 0
_NAME_ERROR: Final = 3
_HEADER: Final = struct.Struct("!HHHHHH")
_RECORD: Final = struct.Struct("!HHIH")
_NUMBER: Final = struct.Struct("!I")
_TYPE_AND_CLASS: Final = 4  # bytes behind the name of the question
_MOST_RECORDS: Final = 64
"""Records that are read of each section. A hostile server could make each one expensive."""
_MOST_CNAMES: Final = 16
_TTL_WITHOUT_SOA: Final = 60  # of a negative answer that does not say how long it is true
_FAILED: Final = Reply((), 0, Reason.FAILED)
_MAPPED: Final = 0xFFFF  # ::ffff:0:0/96 stands for IPv4: RFC 4291, section 2.5.5.2


def read_reply(data: bytes, kind: int) -> Reply:
    """Read an answer. It may hold anything.

    Args:
        data: a response to one question.
        kind: the type that was asked for, A or AAAA.

    Returns:
        What it says. An error of the server, and everything that is no answer, is `FAILED`.
    """
    try:
        return _Reader(data, kind).reply()
    except (dns.exception.DNSException, ValueError, struct.error):
        return _FAILED


class _Reader:
    """The records of one message that matter.

    Args:
        data: the message.
        kind: the type that was asked for.
    """

    def __init__(self, data: bytes, kind: int) -> None:
        self._data = data
        self._kind = kind
        _, flags, _, answers, authorities, _ = _HEADER.unpack_from(data)
        self._code = flags & 0xF
        self._at = _HEADER.size
        self._name = self._read_name()
        self._at += _TYPE_AND_CLASS
        self._aliases: dict[dns.name.Name, tuple[dns.name.Name, int]] = {}
        self._found: dict[dns.name.Name, list[tuple[Address, int]]] = {}
        self._negative_ttl = _TTL_WITHOUT_SOA
        for _ in range(min(answers, _MOST_RECORDS)):
            self._read_answer()
        if answers <= _MOST_RECORDS:
            for _ in range(min(authorities, _MOST_RECORDS)):
                self._read_authority()

    def reply(self) -> Reply:
        """Follow the aliases to the addresses."""
        if self._code not in {_NO_ERROR, _NAME_ERROR}:
            return _FAILED
        ttl = int(LONGEST)
        name = self._name
        for _ in range(_MOST_CNAMES):
            if name in self._found:
                ttls = (each for _, each in self._found[name])
                return Reply(tuple(a for a, _ in self._found[name]), min(ttl, *ttls))
            if name not in self._aliases:
                reason = Reason.NOT_FOUND if self._code == _NAME_ERROR else Reason.NO_ADDRESS
                return Reply((), min(ttl, self._negative_ttl), reason)
            name, alias_ttl = self._aliases[name]
            ttl = min(ttl, alias_ttl)
        return _FAILED  # a circle, or nearly

    def _read_answer(self) -> None:
        owner = self._read_name()
        kind, ttl, start, end = self._read_record()
        if kind == _CNAME:
            self._aliases.setdefault(owner, (dns.name.from_wire(self._data[:end], start)[0], ttl))
        elif kind == self._kind:
            address = _address(self._data[start:end], kind)
            if address is not None:
                self._found.setdefault(owner, []).append((address, ttl))

    def _read_authority(self) -> None:
        self._read_name()
        kind, ttl, _, end = self._read_record()
        if kind == _SOA:
            # The last number of the record is the TTL of negative answers.
            (minimum,) = _NUMBER.unpack_from(self._data, end - _NUMBER.size)
            self._negative_ttl = min(ttl, _ttl(minimum))

    def _read_name(self) -> dns.name.Name:
        name, size = dns.name.from_wire(self._data, self._at)
        self._at += size
        return name

    def _read_record(self) -> tuple[int, int, int, int]:
        """Return type, TTL, start and end of a record. A type of another class is 0."""
        kind, group, ttl, length = _RECORD.unpack_from(self._data, self._at)
        start = self._at + _RECORD.size
        self._at = start + length
        if self._at > len(self._data):
            raise ValueError
        return kind if group == _INTERNET else 0, _ttl(ttl), start, self._at


def _ttl(seconds: int) -> int:
    """Bound a TTL. RFC 2181, section 8: a number with the highest bit set means zero."""
    return 0 if seconds >> 31 else min(seconds, int(LONGEST))


def _address(data: bytes, kind: int) -> Address | None:
    """Read an address; None: it is an IPv4 address in the form of IPv6, which nobody has.

    Raises:
        ValueError: it has the length of another family.
    """
    family = Family.IPV4 if kind == IPV4 else Family.IPV6
    if len(data) * 8 != family.bits:
        raise ValueError
    value = int.from_bytes(data, "big")
    mapped = family is Family.IPV6 and value >> 32 == _MAPPED
    return None if mapped else Address(family, value)
