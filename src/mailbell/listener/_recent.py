"""The callers that were heard lately, by their address as text. Pure.

Of a source that calls again nothing is looked up twice. Only what comes by TCP is kept: whoever
forges the sources of datagrams would fill this memory with names, and make room for others.
"""

from collections.abc import Callable
from typing import Final

from mailbell.listener._admission import Caller

__all__ = ["RecentCallers"]

# Callers of one generation. The last ones of so many addresses are always remembered, and at most
# those of twice as many.
GENERATION: Final = 256


class RecentCallers(dict[str, Caller]):
    """Callers by address: `recent[text]`. One that is not there is made.

    There are two generations. When the younger one, which is this dictionary, is full, it becomes
    the older one, and what that still has is forgotten. So nothing is kept in order.

    Args:
        make: makes the caller of an address.
    """

    def __init__(self, make: Callable[[str], Caller]) -> None:
        super().__init__()
        self._make = make
        self._older: dict[str, Caller] = {}

    def __missing__(self, text: str) -> Caller:
        caller = self._older.get(text) or self._make(text)
        if len(self) >= GENERATION:
            self._older = dict(self)
            self.clear()
        self[text] = caller
        return caller
