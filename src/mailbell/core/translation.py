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
from typing import ClassVar, Final, Self, TypeVar

from mailbell.core.networks import Family, Network, NetworkMap

__all__ = ["Translation", "TranslatorPrefix"]

T = TypeVar("T")

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
        excluded = self.excluded(prefix)
        return None if any(_contains(each, address) for each in excluded) else address

    @property
    def excluded_by_all(self) -> tuple[Network, ...]:
        """The IPv4 networks for which no prefix stands."""
        return _NEVER

    def excluded(self, prefix: Network) -> tuple[Network, ...]:
        """Return the IPv4 networks for which addresses under a prefix never stand.

        Args:
            prefix: one of the prefixes.
        """
        return (*_NEVER, *_PRIVATE) if prefix.prefix == WELL_KNOWN.prefix else _NEVER

    def lookup(self, networks: NetworkMap[T], family: Family, source: int) -> T | None:
        """Find the value of the longest network that contains a source, in either form.

        Args:
            networks: networks of both families, each with its value.
            family: of the source.
            source: its address as an integer.

        Returns:
            The value; None: no network contains the address, nor the IPv4 address in it.
        """
        if source >> 32 not in self._prefixes or family is not Family.IPV6:
            return networks.lookup(family, source)  # nearly always
        found = networks.find(family, source)
        if (ipv4 := self.find_ipv4(source)) is not None:
            embedded = networks.find(Family.IPV4, ipv4)
            if embedded and (found is None or _LENGTH + embedded[0] > found[0]):
                found = embedded
        return found[1] if found else None

    def original(self, network: Network) -> Network:
        """Return the IPv4 network that a network under a prefix stands for; else the network.

        Args:
            network: as it is written in the configuration.
        """
        is_under = network.prefix >> 32 in self._prefixes and network.length >= _LENGTH
        if network.family is Family.IPV6 and is_under:
            return Network(Family.IPV4, network.prefix & _IPV4, network.length - _LENGTH)
        return network


def _contains(network: Network, address: int) -> bool:
    shift = network.family.bits - network.length
    return address >> shift == network.prefix >> shift
