"""Where a notification is sent: an address or a name, a port and a transport."""

from typing import NamedTuple

from mailbell.core.networks import Address, Family
from mailbell.core.notification import Transport

__all__ = ["Target"]


class Target(NamedTuple):
    """One place that is rung.

    Attributes:
        host: a numeric address, or a name of the DNS in lower case without a dot at its end.
        port: 1 to 65535.
        transport: TCP or UDP.
    """

    host: Address | str
    port: int
    transport: Transport

    def __str__(self) -> str:
        ipv6 = isinstance(self.host, Address) and self.host.family is Family.IPV6
        place = f"[{self.host}]:{self.port}" if ipv6 else f"{self.host}:{self.port}"
        return place if self.transport is Transport.TCP else f"{place}/udp"
