"""The places of connections that wait for the rest of their line.

The number of places is limited, in all and for each source. If every place is taken, a
new connection gets the place of the stranger that has waited longest, and that one is
closed. Senders that the configuration names give way only to each other. The line of a
good sender arrives within a round trip, so the closed connections are the silent ones. An
attacker who fills all places with silent connections therefore cannot keep good senders
out. Pure: the caller brings the function that ends a wait.
"""

from collections.abc import Callable
from dataclasses import dataclass

from mailbell.core.outcome import Outcome
from mailbell.limits.gate import Gate, Lane
from mailbell.logs.switch import Switch

__all__ = ["Place", "WaitingRoom"]


@dataclass(slots=True, eq=False)
class Place:
    """The place of one connection that waits.

    Attributes:
        gate: the limits that count the connection.
        source: the address of its sender, as a number.
        end: ends the wait; called when another connection gets the place.
    """

    gate: Gate
    source: int
    end: Callable[[], None]


class WaitingRoom:
    """All places, for all listeners together.

    Args:
        switch: logs when the places run out, and when some are free again.
    """

    def __init__(self, switch: Switch) -> None:
        self._switch = switch
        # The one that has waited longest is first. Strangers are apart from the senders that
        # the configuration names, because they must not displace these.
        self._strangers: dict[Place, None] = {}
        # By the named address or network, so that none of them displaces the others.
        self._named: dict[Lane, dict[Place, None]] = {}
        self._full_at = 0

    def __len__(self) -> int:
        """Return how many connections wait."""
        return len(self._strangers) + sum(map(len, self._named.values()))

    def enter(self, gate: Gate, source: int, end: Callable[[], None]) -> Place | Outcome:
        """Take a place; if none is free, take it from the connection that has waited longest.

        A stranger takes no place from a sender that the configuration names. Such a sender
        takes it from a stranger, or else from the named network that holds most places.

        Args:
            gate: the limits of the connection's family.
            source: the address of its sender, as a number.
            end: ends its wait, if a later connection needs the place.

        Returns:
            The place, which the caller gives back with `leave`; or the limit that
            forbids the connection to wait.
        """
        full = gate.connect(source)
        if full is Outcome.TOO_MANY_CONNECTIONS:
            self._full_at = len(self)
            self._switch.off(full)
            self._displace_one(for_named=gate.names(source))
            full = gate.connect(source)
        elif 2 * len(self) <= self._full_at:
            # Not at the first free place: near the limit that would log a line each time.
            self._switch.on()
        if full is not None:
            return full
        place = Place(gate, source, end)
        self._among(place)[place] = None
        return place

    def leave(self, place: Place) -> None:
        """Give a place back; it is no error if another connection has got it before."""
        party = place.gate.party(place.source)
        places = self._strangers if party is None else self._named.get(party, {})
        if place in places:
            del places[place]
            place.gate.disconnect(place.source)
            if party is not None and not places:
                del self._named[party]

    def _among(self, place: Place) -> dict[Place, None]:
        """Return the places that this one belongs to."""
        party = place.gate.party(place.source)
        return self._strangers if party is None else self._named.setdefault(party, {})

    def _displace_one(self, *, for_named: bool) -> None:
        """End the longest wait: of a stranger if there is one, and of no named sender for one."""
        candidates = self._strangers
        if not candidates and for_named and self._named:
            candidates = max(self._named.values(), key=len)
        longest = next(iter(candidates), None)
        if longest is not None:
            self.leave(longest)
            longest.end()
