"""What the companion for the cluster knows of its node and of the engine, once it is locked in."""

from collections.abc import Mapping
from dataclasses import dataclass

from mailbell.sender._store_url import USUAL_PORT, EngineUrl

__all__ = ["Settings"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """One node of a cluster.

    Attributes:
        url: the engine.
        ports: further TCP ports at which its machines are reached.
        password: None: it wants none.
        certificates: what its certificate is checked with, in PEM; None: no TLS.
        addresses: of each name in the URL.
        node: the name of this node.
        state: the file that this machine keeps, which one sender at a time can have.
        ttl: seconds for which a login counts.
        logins: addresses of one account that are kept.
    """

    url: EngineUrl
    ports: frozenset[int]
    password: str | None
    certificates: str | None
    addresses: Mapping[str, tuple[str, ...]]
    node: str
    state: str
    ttl: float
    logins: int

    @property
    def connect_to(self) -> frozenset[int]:
        """The TCP ports that the companion may connect to."""
        announced = {USUAL_PORT} if self.url.announces else set()
        return self.ports | announced | {port for _, port in self.url.hosts}
