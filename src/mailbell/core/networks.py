"""Addresses and networks as numbers, and a map from an address to its longest network.

The daemon holds a source as `(family, integer)`: the kernel gives addresses as bytes, a
mask is a shift, and an integer needs less memory than an object of `ipaddress`. This
module uses `ipaddress` for the text forms only.
"""

import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum
from typing import ClassVar, Generic, NamedTuple, Self, TypeVar

__all__ = [
    "ADDRESS_FORM",
    "Address",
    "Family",
    "Network",
    "NetworkMap",
    "format_address",
    "parse_address",
    "parse_peer_address",
]

T = TypeVar("T")

# RFC 4291, section 2.5.5.2: ::ffff:0:0/96 stands for the IPv4 addresses. Our sockets are
# IPV6_V6ONLY, so no peer ever has such an address. A network in this form would match
# nothing, and the operator would not be told.
_MAPPED_LENGTH = 96
_MAPPED_PREFIX = 0xFFFF

# The longest textual form of an IPv6 address has 45 characters (RFC 4291, section 2.2, form 3).
_LONGEST_TEXT = 45

ADDRESS_FORM = "a numeric address such as 192.0.2.25 or 2001:db8::25"
"""How to write an address, for messages."""

_PREFIX_LENGTH = re.compile(r"0|[1-9][0-9]{0,2}", re.ASCII)


class Family(IntEnum):
    """An IP address family, with its version number as the value."""

    IPV4 = 4
    IPV6 = 6

    @property
    def bits(self) -> int:
        """The length of an address in bits."""
        return 32 if self is Family.IPV4 else 128


def parse_address(text: str) -> tuple[Family, int]:
    """Read a numeric address. Names are never resolved.

    Args:
        text: as in `192.0.2.25` or `2001:db8::25`; no zone (`%eth0`), no brackets.

    Returns:
        The family and the address as an integer in network byte order.

    Raises:
        ValueError: the text is no address, or an IPv4 address in IPv6 form. The
            message says which form is accepted.

    Source: RFC 4291, section 2.2; inet_pton(3).
    """
    parsed = _parse(text)
    if parsed is None:
        raise ValueError(f"write {ADDRESS_FORM}")
    family, value = parsed
    if family is Family.IPV6 and value >> 32 == _MAPPED_PREFIX:
        mapped = format_address(Family.IPV4, value & 0xFFFF_FFFF)
        raise ValueError(f"write it as IPv4: {mapped}")
    return family, value


def _parse(text: str) -> tuple[Family, int] | None:
    if len(text) > _LONGEST_TEXT or "%" in text:
        return None
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    return Family(address.version), int(address)


def format_address(family: Family, value: int) -> str:
    """Write an address in its canonical form (RFC 5952).

    Args:
        family: of the address.
        value: the address as an integer in network byte order.

    Returns:
        Text without zone or brackets.
    """
    if family is Family.IPV4:
        return str(ipaddress.IPv4Address(value))
    return str(ipaddress.IPv6Address(value))


class Address(NamedTuple):
    """One address of this machine, as an account lists it.

    Attributes:
        family: of the address.
        value: the address as an integer in network byte order.
    """

    family: Family
    value: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read an address.

        Args:
            text: see `parse_address`.

        Returns:
            The address.

        Raises:
            ValueError: see `parse_address`.
        """
        return cls(*parse_address(text))

    def __str__(self) -> str:
        return format_address(self.family, self.value)


def parse_peer_address(text: str) -> Address | None:
    """Read the address of a peer as another program says it.

    A program with one socket for both families says an IPv4 address in IPv6 form (RFC 4291,
    section 2.5.5.2). It is read as the IPv4 address that it means.

    Args:
        text: as in `192.0.2.25`, `2001:db8::25` or `::ffff:192.0.2.25`; no zone (`%eth0`).

    Returns:
        The address; None: the text is none.
    """
    parsed = _parse(text)
    if parsed is None:
        return None
    family, value = parsed
    if family is Family.IPV6 and value >> 32 == _MAPPED_PREFIX:
        return Address(Family.IPV4, value & 0xFFFF_FFFF)
    return Address(family, value)


@dataclass(frozen=True, slots=True)
class Network:
    """All addresses of one family that share their first `length` bits.

    Attributes:
        family: of the addresses.
        prefix: the lowest address of the network; bits beyond `length` are zero.
        length: of the prefix, in bits.
    """

    form: ClassVar[str] = (
        "a numeric address or network such as 192.0.2.25, 192.0.2.0/24 or 2001:db8::/32"
    )

    family: Family
    prefix: int
    length: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `ADDRESS` or `ADDRESS/LENGTH` (RFC 4632, section 3.1).

        Netmasks (`/255.255.255.0`) are refused, because a mask can be written in two ways.

        Args:
            text: as it is written in the configuration.

        Returns:
            The network.

        Raises:
            ValueError: the text is no network, has bits beyond its length, or is
                IPv4 in IPv6 form. The message says what to write.
        """
        host, slash, digits = text.partition("/")
        parsed = _parse(host)
        if parsed is None or (slash and not _PREFIX_LENGTH.fullmatch(digits)):
            raise ValueError(f"write {cls.form}")
        family, value = parsed
        length = int(digits) if slash else family.bits
        if length > family.bits:
            raise ValueError(f"write a length of at most {family.bits} after the slash")
        return cls._checked(family, value, length)

    @classmethod
    def _checked(cls, family: Family, value: int, length: int) -> Self:
        if family is Family.IPV6 and length >= _MAPPED_LENGTH and value >> 32 == _MAPPED_PREFIX:
            inner = cls._masked(Family.IPV4, value & 0xFFFF_FFFF, length - _MAPPED_LENGTH)
            raise ValueError(f"write it as IPv4: {inner}")
        network = cls._masked(family, value, length)
        if network.prefix != value:
            # 10.0.0.1/8 may mean 10.0.0.1 or 10.0.0.0/8. The first admits one host, the
            # second sixteen million. Only the operator knows which one was meant.
            address = format_address(family, value)
            raise ValueError(f"bits are set beyond the length: write {network} or {address}")
        return network

    @classmethod
    def _masked(cls, family: Family, value: int, length: int) -> Self:
        shift = family.bits - length
        return cls(family, value >> shift << shift, length)

    def contains(self, other: "Network") -> bool:
        """Tell whether another network lies within this one.

        Args:
            other: a network of any family.

        Returns:
            Whether every address of `other` is one of this network.
        """
        shift = self.family.bits - self.length
        return (
            self.family is other.family
            and self.length <= other.length
            and self.prefix >> shift == other.prefix >> shift
        )

    def __str__(self) -> str:
        address = format_address(self.family, self.prefix)
        return address if self.length == self.family.bits else f"{address}/{self.length}"


class NetworkMap(Generic[T]):
    """Maps each address to the value of the longest network that contains it.

    There is one dictionary for each prefix length in use. A lookup asks them from the longest
    prefix to the shortest, so its cost depends on the number of different lengths and not on
    the number of networks. All keys come from the operator's configuration, so no peer can
    choose keys that collide.

    Args:
        entries: networks, each with its value. If a network occurs more than once, the
            last entry counts.
    """

    __slots__ = ("_levels",)

    def __init__(self, entries: Iterable[tuple[Network, T]]) -> None:
        by_length: dict[tuple[Family, int], dict[int, T]] = {}
        for network, value in entries:
            level = by_length.setdefault((network.family, network.length), {})
            level[network.prefix >> (network.family.bits - network.length)] = value
        self._levels: dict[Family, tuple[tuple[int, dict[int, T]], ...]] = {
            family: tuple(
                (family.bits - length, by_length[family, length])
                for length in range(family.bits, -1, -1)
                if (family, length) in by_length
            )
            for family in Family
        }

    def find(self, family: Family, address: int) -> tuple[int, T] | None:
        """Find the longest network that contains an address.

        Args:
            family: of the address.
            address: as an integer in network byte order.

        Returns:
            The length of the network and its value; None when no network contains the address.
        """
        for shift, level in self._levels[family]:
            key = address >> shift
            if key in level:
                return family.bits - shift, level[key]
        return None

    def lookup(self, family: Family, address: int) -> T | None:
        """Find the value of the longest network that contains an address.

        Args:
            family: of the address.
            address: as an integer in network byte order.

        Returns:
            The value; None when no network contains the address.
        """
        for shift, level in self._levels[family]:
            key = address >> shift
            if key in level:
                return level[key]
        return None
