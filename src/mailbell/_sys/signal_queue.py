"""Signals as events of Trio's loop, for programs that end in their own time.

`trio.open_signal_receiver` cannot be used: when it is closed it sends each signal that was not
taken to this process once more. A second signal that arrives while a program ends would then
end it at once. In a locked process the call itself violates the policy.
"""

import signal
from collections.abc import Iterable
from contextlib import suppress
from typing import Self

import trio

from mailbell._sys.signals import replace_handlers

__all__ = ["SignalQueue"]


class SignalQueue:
    """Receives signals from the moment it is made; iterate over it to take them.

    Make it inside the event loop. A signal that is not taken has no effect. A signal that
    arrives several times before it is taken counts as one.

    Args:
        numbers: the signals to receive.
    """

    def __init__(self, numbers: Iterable[signal.Signals]) -> None:
        self._token = trio.lowlevel.current_trio_token()
        self._arrived: dict[signal.Signals, None] = {}
        self._changed = trio.Event()
        self._before = {number: signal.signal(number, self._handle) for number in numbers}

    def _handle(self, number: int, _: object) -> None:
        # RunFinishedError: the program is about to end. OSError: the event loop cannot be woken,
        # but the signal is noted, and the write of Python's own handler wakes the loop too.
        with suppress(trio.RunFinishedError, OSError):
            self._token.run_sync_soon(self._add, signal.Signals(number), idempotent=True)

    def _add(self, number: signal.Signals) -> None:
        self._arrived[number] = None
        self._changed.set()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> signal.Signals:
        """Wait for the next signal."""
        await trio.lowlevel.checkpoint()
        while not self._arrived:
            self._changed = trio.Event()
            await self._changed.wait()
        number = next(iter(self._arrived))
        del self._arrived[number]
        return number

    def give_back(self) -> None:
        """Receive no signals any more: restore the handlers that were set before."""
        replace_handlers(self._before)
