"""The places of connections whose line is still on its way.

There is a limited number, all together and for each source. When every place is
taken, a newcomer gets that of the connection that has waited longest: a good
sender's line comes within a round trip, so it is the silent ones that give way,
and nobody can shut good senders out by taking all places and saying nothing.
Pure: how to end a wait is the caller's.
"""

from collections.abc import Callable
from dataclasses import dataclass

from mailbell.core.outcome import Outcome
from mailbell.limits.limiter import Gate
from mailbell.logs.switch import Switch

__all__ = ["Place", "WaitingRoom"]


@dataclass(slots=True, eq=False)
class Place:
    """One connection that waits.

    Attributes:
        gate: the limits it counts for.
        source: who it is.
        end: ends the wait; called when the place goes to another.
    """

    gate: Gate
    source: int
    end: Callable[[], None]


class WaitingRoom:
    """All places, of all listeners together.

    Args:
        switch: told when places run out, and when there are some again.
    """

    def __init__(self, switch: Switch) -> None:
        self._switch = switch
        self._places: dict[Place, None] = {}  # the longest waiting first
        self._full_at = 0

    def enter(self, gate: Gate, source: int, end: Callable[[], None]) -> Place | Outcome:
        """Take a place, another's if need be.

        Args:
            gate: the limits of the connection's family.
            source: where it comes from.
            end: ends its wait, should the place be given away.

        Returns:
            The place, to be left with `leave`, or which limit forbids it.
        """
        full = gate.connect(source)
        if full is Outcome.TOO_MANY_CONNECTIONS:
            self._full_at = len(self._places)
            self._switch.off(full)
            self._displace_one()
            full = gate.connect(source)
        elif 2 * len(self._places) <= self._full_at:
            # Not at the first free place: around the limit that would be a line each time.
            self._switch.on()
        if full is not None:
            return full
        place = Place(gate, source, end)
        self._places[place] = None
        return place

    def leave(self, place: Place) -> None:
        """Give a place back; it is no error if it was given away before."""
        if place in self._places:
            del self._places[place]
            place.gate.disconnect(place.source)

    def _displace_one(self) -> None:
        longest = next(iter(self._places), None)
        if longest is not None:
            self.leave(longest)
            longest.end()
