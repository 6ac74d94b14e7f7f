"""Local work in small portions, so that the network always has its turn.

All clients of a local socket share the event loop with the network. Without a limit a
thousand clients could each do their work in the same turn of the loop, and every sender
would wait for all of them. So each piece of work first asks for a turn. A few pieces may be
done in one turn of the loop. The others wait in order. If there is always more work, there
is a short rest now and then. So the local clients leave a part of the processor to others.
"""

from typing import Final, NoReturn

import trio

__all__ = ["CALL", "REPLY", "Turns"]

REPLY: Final = 1
"""The cost of one reply of a stream."""

CALL: Final = 4
"""The cost of one call: it is read, decoded and answered. The longest answer is a status."""

_PORTION: Final = 16  # the cost of the work that may be done in one turn of the loop
_PORTIONS: Final = 4  # portions until a rest, while more work waits
_REST: Final = 0.001  # seconds


class Turns:
    """The turns of all clients of one socket."""

    def __init__(self) -> None:
        self._left = _PORTION  # what may still be done without waiting
        # The last turns that were given, and what may be done beside them once one has begun.
        self._given: set[trio.Event] = set()
        self._next = 0
        self._queue: dict[trio.Event, int] = {}
        self._waiting = trio.Event()

    async def wait(self, cost: int) -> None:
        """Wait for a turn. It takes no time as long as little is done.

        Args:
            cost: `CALL` or `REPLY`.
        """
        if self._left > 0 and not self._queue:
            self._left -= cost
            return
        turn = trio.Event()
        self.ask(turn, cost)
        try:
            await turn.wait()
        finally:
            self._queue.pop(turn, None)
        self.begin(turn)

    def ask(self, turn: trio.Event, cost: int) -> None:
        """Set an event when it is the caller's turn, perhaps at once.

        Args:
            turn: the event. Whoever waits for it calls `begin` then.
            cost: `CALL` or `REPLY`.
        """
        if self._left > 0 and not self._queue:
            self._left -= cost
            turn.set()
        else:
            self._queue[turn] = cost
            self._waiting.set()

    def begin(self, turn: trio.Event) -> None:
        """Go on with the turn that was given: the rest of the portion is for whoever asks now.

        Args:
            turn: the event that has been set.
        """
        if turn in self._given:
            self._given.remove(turn)
            self._left += self._next
            self._next = 0

    async def serve(self) -> NoReturn:
        """Give the turns to those that wait, a portion at a time."""
        portions = 0
        while True:
            if not self._queue:
                portions = 0
                self._waiting = trio.Event()
                await self._waiting.wait()
            # Those that got the last turns go on in this turn of the loop at the latest.
            await trio.lowlevel.checkpoint()
            self._give_a_portion()
            portions += 1
            if not portions % _PORTIONS:
                await trio.sleep(_REST)
            elif self._queue:
                await trio.lowlevel.checkpoint()

    def _give_a_portion(self) -> None:
        """Set the events of those that are next. They go on in the loop's next turn.

        Nobody else does anything before one of them has begun: Trio runs the tasks of a turn in an
        order of its own, and what is left of the portion belongs to that turn.
        """
        self._given.clear()
        self._left = 0
        left = _PORTION
        while self._queue and left > 0:
            turn = next(iter(self._queue))
            left -= self._queue.pop(turn)
            self._given.add(turn)
            turn.set()
        self._next = left
