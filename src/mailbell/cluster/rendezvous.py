"""Which node of a cluster has a key: highest random weight, without a table.

Each node has a weight for each key, and the key belongs to the node with the highest. Every node
computes the same, from nothing but the names of the nodes. When a node comes or goes, only the
keys move that it gets or had.

Source: Thaler and Ravishankar, "Using name-based mappings to increase hit rates", 1998.
"""

from collections.abc import Iterable
from hashlib import blake2b
from typing import Final

__all__ = ["owner"]

_WEIGHT: Final = 8  # bytes


def owner(key: bytes, nodes: Iterable[str]) -> str:
    """Return the node that has a key.

    Args:
        key: any bytes. Each node computes the same owner.
        nodes: the names of the nodes, in any order; one at least.

    Raises:
        ValueError: there is no node.
    """
    # The name decides where two weights are equal, so that the order of the nodes never does.
    return max(nodes, key=lambda node: (_weight(key, node), node))


def _weight(key: bytes, node: str) -> bytes:
    name = node.encode()
    # The length keeps the name and the key apart.
    return blake2b(b"%d:%s%s" % (len(name), name, key), digest_size=_WEIGHT).digest()
