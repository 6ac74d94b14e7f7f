"""What Cyrus said and the sender does not know yet: each thing once, in bounded memory.

A sender that was stopped for a while must ring everyone who got mail meanwhile, but need not
know how often. So ten deliveries to one user wait as one.
"""

from collections.abc import Callable
from typing import Final

from mailbell.sender._requests import Ignored, Malformed, Request

__all__ = ["MOST_BYTES", "MOST_EVENTS", "CyrusQueue"]

MOST_EVENTS: Final = 8_192
"""Different events that wait at once."""
MOST_BYTES: Final = 8 << 20
"""Bytes that wait at once."""


class CyrusQueue:
    """Datagrams for the sender, in the order in which they came first.

    Args:
        parse: says what a datagram asks; two that ask the same wait as one.
        events: how many may wait; a further one is dropped.
        size: how many bytes may wait; a further one is dropped.
    """

    def __init__(
        self,
        parse: Callable[[bytes], Request | Malformed],
        *,
        events: int = MOST_EVENTS,
        size: int = MOST_BYTES,
    ) -> None:
        self._parse = parse
        self._events = events
        self._free = size
        self._waiting: dict[Request | Malformed, bytes] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, datagram: bytes) -> bool:
        """Keep a datagram for the sender, unless it asks nothing or nothing new.

        Args:
            datagram: as Cyrus sent it. One that is malformed is kept too, so that the sender can
                count it: one of each kind.

        Returns:
            False: it was dropped because too much waits.
        """
        asked = self._parse(datagram)
        if isinstance(asked, Ignored) or asked in self._waiting:
            return True
        if len(self._waiting) >= self._events or len(datagram) > self._free:
            return False
        # An empty message would look like the end of this process.
        self._waiting[asked] = datagram or b"\0"
        self._free -= len(self._waiting[asked])
        return True

    def first(self) -> bytes:
        """Return the datagram that waits longest. There must be one."""
        return next(iter(self._waiting.values()))

    def remove_first(self) -> None:
        """Forget it, because the sender knows it now."""
        self._free += len(self._waiting.pop(next(iter(self._waiting))))
