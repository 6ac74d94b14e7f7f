"""The nodes that live, as the engine's list has them, and which of them has a target."""

from collections.abc import Iterable
from typing import Final, NamedTuple

from mailbell.cluster.rendezvous import owner

__all__ = ["BEAT", "LIFE", "Change", "Members"]

BEAT: Final = 1.0
"""Seconds from one sign of life to the next."""

LIFE: Final = 5.0
"""Seconds without a sign of life after which a node counts as dead."""


class Change(NamedTuple):
    """What an update has changed.

    Attributes:
        came: the nodes that are new.
        went: the nodes that live no longer.
    """

    came: frozenset[str]
    went: frozenset[str]


class Members:
    """What one node knows of all nodes. Pure.

    Args:
        own: the name of this node, which always lives for itself.

    Attributes:
        own: as given.
    """

    __slots__ = ("_has_retired", "_nodes", "own")

    def __init__(self, own: str) -> None:
        self.own = own
        self._nodes: tuple[str, ...] = (own,)
        self._has_retired = False

    @property
    def nodes(self) -> tuple[str, ...]:
        """The nodes that live, sorted."""
        return self._nodes

    def update(self, alive: Iterable[str]) -> Change:
        """Take over the engine's list.

        Args:
            alive: the nodes that live.
        """
        before = frozenset(self._nodes)
        after = frozenset(alive) | {self.own}
        self._nodes = tuple(sorted(after))
        return Change(after - before, before - after)

    def retire(self) -> None:
        """Give this node no more targets, unless no other node lives."""
        self._has_retired = True

    def owner(self, target: str) -> str:
        """Return the node that rings a target.

        Args:
            target: its text. Each node computes the same as long as all know the same nodes.
        """
        others = [each for each in self._nodes if each != self.own] if self._has_retired else ()
        return owner(target.encode(), others or self._nodes)
