"""The places of connections to the hook's socket that stay open.

The number of places is limited. If all are taken, a new connection gets the place of another
one, in this order:

1. a user's who is not trusted, if the connection has said nothing: of the user who has most
   such places, the oldest;
2. a user's who is not trusted, though the connection has spoken: chosen likewise;
3. a trusted user's, if the connection has said nothing: the oldest;
4. a trusted user's: the one that has been silent for longest.

A new connection of a user who is not trusted takes no place of a trusted one. So users who only
hold places keep neither the mail server nor each other out. A connection whose line has arrived
needs no place. Pure: the caller brings the function that ends a connection.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

__all__ = ["CROWD", "Place", "Places"]

CROWD: Final = 1 << 16
"""Numbers of users from here on: subordinate ones, and those of directory servers. One user may
have thousands of subordinate numbers (subuid(5)), so all of these count as one user."""

Party = dict["Place", None]  # a dict is a set that keeps the order


@dataclass(slots=True, eq=False)
class Place:
    """The place of one connection.

    Attributes:
        user: the number of its user; `CROWD` stands for all from there on.
        is_trusted: whether the user may speak for every account.
        end: ends the connection; called when another one gets the place.
        has_spoken: whether an input of the connection was accepted.
    """

    user: int
    is_trusted: bool
    end: Callable[[], None]
    has_spoken: bool = False


class Places:
    """All places of one socket.

    Args:
        most: how many there are.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        # Each party holds its longest waiting place first.
        self._silent: dict[int, Party] = {}
        self._spoken: dict[int, Party] = {}
        self._trusted_silent: Party = {}
        self._trusted_spoken: Party = {}
        self._count = 0

    def __len__(self) -> int:
        """Return how many connections have a place."""
        return self._count

    def enter(self, uid: int, end: Callable[[], None], *, is_trusted: bool) -> Place | None:
        """Take a place; if none is free, take it from another connection.

        Args:
            uid: the user at the other end.
            end: ends the connection, if a later one needs its place.
            is_trusted: whether the user may speak for every account.

        Returns:
            The place, which the caller gives back with `leave`. None: all are held by
            connections that do not give way to this one.
        """
        place = Place(min(uid, CROWD), is_trusted, end)
        if self._count >= self._most and not self._displace_for(place):
            return None
        self._party(place)[place] = None
        self._count += 1
        return place

    def speak(self, place: Place) -> None:
        """Note that an input of a connection was accepted just now.

        Args:
            place: of the connection.
        """
        if place.has_spoken and not place.is_trusted:
            return  # a flood of lines makes no user more worthy of a place
        if self._remove(place):
            place.has_spoken = True
            self._party(place)[place] = None
            self._count += 1

    def leave(self, place: Place) -> None:
        """Give a place back; it is no error if another connection has got it before.

        Args:
            place: what `enter` returned.
        """
        self._remove(place)

    def _party(self, place: Place) -> Party:
        """Return the places that this one belongs to."""
        if place.is_trusted:
            return self._trusted_spoken if place.has_spoken else self._trusted_silent
        users = self._spoken if place.has_spoken else self._silent
        return users.setdefault(place.user, {})

    def _remove(self, place: Place) -> bool:
        party = self._party(place)
        found = place in party
        if found:
            del party[place]
            self._count -= 1
        if not party and not place.is_trusted:
            del (self._spoken if place.has_spoken else self._silent)[place.user]
        return found

    def _displace_for(self, newcomer: Place) -> bool:
        """End one connection; return whether one gives way."""
        victim = self._find_victim(newcomer)
        if victim is None:
            return False
        self._remove(victim)
        victim.end()
        return True

    def _find_victim(self, newcomer: Place) -> Place | None:
        users = self._silent or self._spoken
        if users:
            # Of equals the newcomer's own user, so that nobody gains places by coming again.
            most = max(users, key=lambda user: (len(users[user]), user == newcomer.user))
            return next(iter(users[most]))
        if not newcomer.is_trusted:
            return None
        return next(iter(self._trusted_silent or self._trusted_spoken), None)
