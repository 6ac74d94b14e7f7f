"""Calls a target that has a name: several addresses, some of which may lead nowhere.

RFC 8305, "Happy Eyeballs": the next address is tried after a fraction of a second, and the
first one that connects gets the line. The other connections are closed before anything is sent
there. A name server chooses the addresses, so the rules for addresses are asked about each.
"""

from collections.abc import Callable, Sequence
from typing import Final

import trio

from mailbell._sys.connections import close
from mailbell.core.networks import Address
from mailbell.core.sender_outcome import RingOutcome
from mailbell.core.target import Target
from mailbell.sender._outgoing import Path, call_address, send_line

__all__ = ["DELAY", "MOST", "Race"]

DELAY: Final = 0.25
"""Seconds until the next address is tried (RFC 8305, section 5: 250 ms)."""

MOST: Final = 8
"""Addresses of a name that are tried: as many as begin before the usual deadline."""

_SENT: Final = RingOutcome.SENT

# If every address fails, the outcome that tells most is the name's.
_TELLING: Final = (
    RingOutcome.SENT,
    RingOutcome.RESET,
    RingOutcome.REFUSED,
    RingOutcome.TIMEOUT,
    RingOutcome.UNREACHABLE,
    RingOutcome.NOT_ALLOWED,
)


class Race:
    """The attempts at the addresses of one name.

    Args:
        target: with the name.
        addresses: in the order in which they are tried.
        may_begin: asked before each attempt that runs beside others; False: no connection is
            left, and the attempt that runs longest gives way.
        may_be_own: whether an address may be one of this host.
        on_open: told +1 for each attempt beside the first one, and -1 when it ends.
    """

    def __init__(
        self,
        target: Target,
        addresses: Sequence[Address],
        *,
        may_begin: Callable[[], bool],
        may_be_own: Callable[[Address], bool],
        on_open: Callable[[int], None],
    ) -> None:
        self._target = target
        self._addresses = addresses[:MOST]
        self._may_begin = may_begin
        self._may_be_own = may_be_own
        self._on_open = on_open
        self._running: dict[Address, trio.CancelScope] = {}
        self._outcomes: list[RingOutcome] = []
        self._shortage: OSError | None = None

    async def run(self) -> RingOutcome:
        """Call one address after another until one of them has the line.

        Returns:
            `SENT`, or the most telling outcome of all addresses. It waits without an end for
            addresses that do not answer: the caller has the deadline.

        Raises:
            OSError: this machine lacks something, and no address got the line.
        """
        async with trio.open_nursery() as nursery:
            for address in self._addresses:
                self._make_room()
                ended = trio.Event()
                nursery.start_soon(self._call, address, ended, nursery.cancel_scope)
                with trio.move_on_after(DELAY):
                    # RFC 8305, section 5: after a failure the next one starts at once.
                    await ended.wait()
        if self._shortage is not None and _SENT not in self._outcomes:
            raise self._shortage
        return min(self._outcomes, key=_TELLING.index)

    def _make_room(self) -> None:
        if self._running and not self._may_begin():
            self._running.pop(next(iter(self._running))).cancel()

    async def _call(self, address: Address, ended: trio.Event, race: trio.CancelScope) -> None:
        outcome = RingOutcome.TIMEOUT
        is_extra = bool(self._running)
        self._on_open(is_extra)
        try:
            with trio.CancelScope() as self._running[address]:
                outcome = await self._call_untrusted(address)
        finally:
            self._running.pop(address, None)
            self._on_open(-is_extra)
        self._outcomes.append(outcome)
        ended.set()
        if outcome is _SENT:
            race.cancel()

    async def _call_untrusted(self, address: Address) -> RingOutcome:
        path = Path.to(address, self._target.port, self._target.transport)
        try:
            found = call_address(path, may_be_own=self._may_be_own(address))
        except OSError as error:
            self._shortage = error
            return RingOutcome.UNREACHABLE
        if isinstance(found, RingOutcome):
            return found
        try:
            while True:
                await trio.lowlevel.wait_writable(found)
                if _SENT in self._outcomes:  # another one has won at this moment
                    return RingOutcome.TIMEOUT
                outcome = send_line(found)
                if outcome is not None:
                    return outcome
        finally:
            close(found)
