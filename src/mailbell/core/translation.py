"""IPv4 senders behind a translator: their IPv6 addresses contain their IPv4 addresses.

A host without IPv4 reaches IPv4 through a translator (NAT64, RFC 6146; SIIT, RFC 7915).
Such a host sees each IPv4 sender as one IPv6 address: the prefix of the translator and,
in the last 32 bits, the IPv4 address (RFC 6052, section 2.2, for prefixes of 96 bits).
Limits that count networks of IPv6 would see all these senders as one source.

Some IPv4 addresses must not be believed in this form. The kernel drops 127.0.0.1 and other
addresses of one machine or link when they come from the network, but not the IPv6 addresses
that contain them. And under the well-known prefix an honest translator sends no private
address (RFC 6052, section 3.1).
"""

from collections.abc import Iterable
from typing import ClassVar, Final, Self

from mailbell.core.networks import Family, Network

__all__ = ["Translation", "TranslatorPrefix"]

_LENGTH: Final = 96
_IPV4: Final = 0xFFFF_FFFF


class TranslatorPrefix(Network):
    """The prefix of a translator, as the operator writes it: an IPv6 network of 96 bits."""

    __slots__ = ()

    form: ClassVar[str] = 'an IPv6 prefix of 96 bits, such as "2001:db8:64::/96"'

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a prefix.

        Args:
            text: as it is written in the configuration.

        Returns:
            The prefix.

        Raises:
            ValueError: the text is no such prefix. The message says what to write.
        """
        network = super().parse(text)
        if network.family is not Family.IPV6 or network.length != _LENGTH:
            raise ValueError(f"write {cls.form}")
        return network


def _networks(*texts: str) -> tuple[Network, ...]:
    return tuple(map(Network.parse, texts))


# RFC 6890: of this machine, of this link, of no single host.
_NEVER: Final = _networks("0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/3")
# RFC 1918 and RFC 6598.
_PRIVATE: Final = _networks("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10")

WELL_KNOWN: Final = Network.parse("64:ff9b::/96")
"""RFC 6052, section 2.1. No other hosts have these addresses."""


class Translation:
    """The prefixes of all translators that this host knows.

    Args:
        prefixes: the operator's own, each of 96 bits; the well-known prefix is always there.
    """

    __slots__ = ("_prefixes",)

    def __init__(self, prefixes: Iterable[Network] = ()) -> None:
        self._prefixes = {prefix.prefix >> 32: prefix for prefix in (WELL_KNOWN, *prefixes)}

    @property
    def prefixes(self) -> tuple[Network, ...]:
        """All prefixes, the well-known one first."""
        return tuple(self._prefixes.values())

    def find_ipv4(self, source: int) -> int | None:
        """Return the IPv4 address in an IPv6 address; None: it is no translated address.

        Args:
            source: an IPv6 address as an integer.
        """
        prefix = self._prefixes.get(source >> 32)
        if prefix is None:
            return None
        address = source & _IPV4
        return address if _may_stand_for(prefix, Network(Family.IPV4, address, 32)) else None

    def both_forms(self, network: Network) -> tuple[Network, ...]:
        """Return a network in all forms in which this host may see its addresses.

        Args:
            network: as it is written in the configuration.

        Returns:
            The network itself. If it is of IPv4, also its form under each prefix that can
            stand for some of its addresses.
        """
        if network.family is not Family.IPV4:
            return (network,)
        translated = (
            Network(Family.IPV6, prefix.prefix | network.prefix, _LENGTH + network.length)
            for prefix in self.prefixes
            if _may_stand_for(prefix, network)
        )
        return (network, *translated)

    def original(self, network: Network) -> Network:
        """Return the IPv4 network that a network under a prefix stands for; else the network.

        Args:
            network: as it is written in the configuration.
        """
        if network.family is Family.IPV6 and network.length >= _LENGTH:
            address = self.find_ipv4(network.prefix)
            if address is not None:
                return Network(Family.IPV4, address, network.length - _LENGTH)
        return network


def _may_stand_for(prefix: Network, network: Network) -> bool:
    """Tell whether addresses under a prefix can stand for some addresses of a network."""
    excluded = (*_NEVER, *_PRIVATE) if prefix.prefix == WELL_KNOWN.prefix else _NEVER
    return not any(each.contains(network) for each in excluded)
