"""Which addresses may be rung: never those that mean this host, a group or nobody, unless allowed.

A trusted mail server says from where a user logged in, and a local user may say it of their own
account. Either can lie. So an address is asked about when it is said, and again before each
ring: it must not lead back into this host, to a multicast group or to a broadcast address.
"""

from collections.abc import Iterable
from enum import StrEnum
from typing import Final

from mailbell.core.networks import Address, Family, Network, NetworkMap

__all__ = ["AddressRules", "Refusal", "unmapped"]

_MAPPED_PREFIX: Final = 0xFFFF  # ::ffff:0:0/96, RFC 4291, section 2.5.5.2
_IPV4_BITS: Final = 32


class Refusal(StrEnum):
    """Why an address is not rung."""

    DENIED = "denied"  # a network of last_used.deny
    NOT_ALLOWED = "not_allowed"  # last_used.allow has networks, and none of them contains it
    LOOPBACK = "loopback"
    LINK_LOCAL = "link_local"
    MULTICAST = "multicast"
    UNSPECIFIED = "unspecified"
    BROADCAST = "broadcast"
    OWN = "own_address"


# RFC 6890 lists the blocks. 0.0.0.0/8 is "this host on this network": Linux connects 0.0.0.0 to
# this host. 240.0.0.0/4 has no use but the broadcast address. ::/96 are the IPv4-compatible
# addresses that RFC 4291 gave up, fec0::/10 the site-local ones of RFC 3879.
_BLOCKS: Final = tuple(
    (Network.parse(text), refusal)
    for text, refusal in (
        ("0.0.0.0/8", Refusal.UNSPECIFIED),
        ("127.0.0.0/8", Refusal.LOOPBACK),
        ("169.254.0.0/16", Refusal.LINK_LOCAL),
        ("224.0.0.0/4", Refusal.MULTICAST),
        ("240.0.0.0/4", Refusal.BROADCAST),
        ("::/96", Refusal.UNSPECIFIED),
        ("::1", Refusal.LOOPBACK),
        ("fe80::/10", Refusal.LINK_LOCAL),
        ("fec0::/10", Refusal.LINK_LOCAL),
        ("ff00::/8", Refusal.MULTICAST),
    )
)


def unmapped(address: Address) -> Address:
    """Return the IPv4 address that an IPv6 address of the form `::ffff:192.0.2.1` stands for.

    Args:
        address: any address.

    Returns:
        The IPv4 address; any other address as it is.

    Source: RFC 4291, section 2.5.5.2.
    """
    if address.family is Family.IPV6 and address.value >> _IPV4_BITS == _MAPPED_PREFIX:
        return Address(Family.IPV4, address.value & 0xFFFF_FFFF)
    return address


class AddressRules:
    """Says of each address whether it may be rung.

    `deny` is asked first. If `allow` has networks, an address must be in one of them. An address
    of a special block also needs a network in `allow` that lies in that block: `0.0.0.0/0`
    does not name the loopback addresses, `127.0.0.0/8` does. An address of this host needs any
    network in `allow` that contains it, except one that contains every address.

    Args:
        allow: the networks that may be rung; empty: every network.
        deny: the networks that may not be rung.
        own: what is local to this host: its addresses, and the broadcast addresses of its links.
    """

    def __init__(
        self, allow: Iterable[Network], deny: Iterable[Network], own: Iterable[Network]
    ) -> None:
        allowed = tuple(allow)
        self._allows_all = not allowed
        self._allowed = NetworkMap((network, network) for network in allowed)
        self._denied = NetworkMap((network, True) for network in deny)
        self._blocks = NetworkMap((block, (block, refusal)) for block, refusal in _BLOCKS)
        self._own = NetworkMap((network, True) for network in own)

    def refusal(self, address: Address) -> Refusal | None:
        """Tell why an address may not be rung.

        Args:
            address: of either family. The form `::ffff:192.0.2.1` is read as IPv4.

        Returns:
            The reason; None: it may be rung.
        """
        family, value = unmapped(address)
        if self._denied.lookup(family, value):
            return Refusal.DENIED
        allowed = self._allowed.lookup(family, value)
        if allowed is None and not self._allows_all:
            return Refusal.NOT_ALLOWED
        found = self._blocks.lookup(family, value)
        if found is not None:
            block, refusal = found
            return None if allowed is not None and block.contains(allowed) else refusal
        if self._own.lookup(family, value) and (allowed is None or not allowed.length):
            return Refusal.OWN
        return None

    def permits_own(self, address: Address) -> bool:
        """Tell whether an address may be rung even if it is one of this host now.

        A host can get an address after the list of its own addresses was made.

        Args:
            address: of either family.

        Returns:
            Whether `allow` has a network that contains it, and not only every address.
        """
        allowed = self._allowed.lookup(*unmapped(address))
        return allowed is not None and bool(allowed.length)
