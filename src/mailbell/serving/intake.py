"""The one loop that takes what arrives on a socket: connections or datagrams.

A socket on which something waits stays readable. So a call that is refused for good would
be made again and again, without an end and without a word. Here it is not: an error that
belongs to one peer is passed over, and every other one pauses the loop. The log has one
line when the loop pauses and one when it goes on.
"""

import errno
import socket
from collections.abc import Callable
from typing import Any, Final, NoReturn

import trio

from mailbell.logs.journal import Journal, Level
from mailbell.logs.switch import Switch

__all__ = ["PAUSE", "Intake"]

PAUSE: Final = 0.25
"""Seconds until it is tried again. Waiting helps, nothing else does: the system may be out of
descriptors or memory, or a security module forbids the call."""

# accept(2): the connection that waited is gone, or the network has something to say of it.
# udp(7): an error of an earlier packet, which is reported once. EPERM and EACCES are not
# here: they come from a security module, and come again.
_OF_ONE_PEER: Final = frozenset(
    {
        errno.ECONNABORTED,
        errno.ECONNREFUSED,
        errno.ECONNRESET,
        errno.EHOSTDOWN,
        errno.EHOSTUNREACH,
        errno.EINTR,
        errno.ENETDOWN,
        errno.ENETUNREACH,
        errno.ENONET,
        errno.ENOPROTOOPT,
        errno.EOPNOTSUPP,
        errno.EPROTO,
        errno.ETIMEDOUT,
    }
)


class Intake:
    """Takes what arrives on one socket, a batch at a time.

    Args:
        sock: non-blocking; readable as long as something waits on it.
        take: takes one of what waits, as in `sock.accept`.
        batch: how many are taken before the other tasks have their turn.
        journal: for changes of state.
        what: that which goes on and pauses, as in "accepting".
        where: the socket, as it is named in the log.
    """

    def __init__(
        self,
        sock: socket.socket,
        take: Callable[[], Any],
        *,
        batch: int,
        journal: Journal,
        what: str,
        where: str,
    ) -> None:
        self._socket = sock
        self._take = take
        self._batch = batch
        self._journal = journal
        self._state = Switch(journal, what, where)
        self._where = where

    async def serve(self, handle: Callable[[Any, float], None]) -> NoReturn:
        """Take for ever. One peer's misbehaviour ends one connection, never this.

        Args:
            handle: called with what `take` has returned, and with the time on Trio's clock
                at which the batch began. It never waits.
        """
        while True:
            await trio.lowlevel.wait_readable(self._socket)
            if not self._take_batch(handle):
                await trio.sleep(PAUSE)

    def _take_batch(self, handle: Callable[[Any, float], None]) -> bool:
        """Handle what is ready; return False when it is of no use to go on at once."""
        now = trio.current_time()
        take = self._take
        failed = 0
        for _ in range(self._batch):
            try:
                taken = take()
            except BlockingIOError:
                break
            except MemoryError:
                self._state.off("ENOMEM")
                return False
            except OSError as error:
                failed += 1
                # A batch of nothing but errors is no accident of one peer either.
                if error.errno in _OF_ONE_PEER and failed < self._batch:
                    continue
                self._state.off(errno.errorcode.get(error.errno or 0, "?"))
                return False
            try:
                handle(taken, now)
            except Exception as error:  # one peer met a bug of ours, or no memory was left for it
                self._journal.log(Level.ERROR, "failed", where=self._where, error=repr(error))
        self._state.on()
        return True
