"""Asks the kernel which addresses are this host's own (rtnetlink(7)).

Signatures only; the body follows.
"""

from mailbell.core.networks import Network

__all__ = ["own_networks"]


def own_networks() -> tuple[Network, ...]:
    """Return all that is local to this host: addresses, local routes, broadcast addresses.

    Raises:
        OSError: the kernel does not tell.
    """
    raise NotImplementedError
