"""The loop that takes everything that arrives on a socket: connections or datagrams.

A socket stays readable as long as something waits on it. If the kernel refuses the call
that takes it, a plain loop would repeat the call without a pause and without a log line.
This loop skips an error that belongs to one peer, and pauses after any other error. The
log has one line when the loop pauses and one when it goes on.
"""

import errno
import select
import socket
from collections.abc import Callable
from typing import Any, Final, NoReturn

import trio

from mailbell.logs.journal import Journal, Level
from mailbell.logs.switch import Switch

__all__ = ["PAUSE", "Intake", "until_readable"]

PAUSE: Final = 0.25
"""Seconds until the loop tries again. Only time helps: the system has no descriptors or no
memory left, or a security module forbids the call."""

# After a lone arrival a look for another one mostly finds nothing, and costs a system call and an
# exception. So some of the next ones are handled without it: one, three, at last this many. If
# others do wait, each of these costs a turn of the event loop.
UNASKED: Final = 7

# accept(2): the waiting connection is gone, or the network reports an error of it.
# udp(7): an error of an earlier packet, which the kernel reports once. EPERM and EACCES are
# not in this list: they come from a security module, which refuses the next call too.
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


async def until_readable(
    watched: socket.socket | select.epoll, refused: Callable[[OSError], None] | None = None
) -> None:
    """Wait until something can be read.

    The event loop has the kernel watch the descriptor. If the kernel refuses that (epoll_ctl(2): no
    memory, or the user watches too much already), this pauses and tries again.

    Args:
        watched: what is read.
        refused: called with each such error; None: nobody needs to know.
    """
    while True:
        try:
            await trio.lowlevel.wait_readable(watched)
        except OSError as error:
            if refused is not None:
                refused(error)
            await trio.sleep(PAUSE)
        else:
            return


def _name_of(error: OSError) -> str:
    """Return the name of an error, as the log has it."""
    # After a refusal Trio tries to watch the descriptor as a new one, which says EEXIST.
    first = error.__context__ if isinstance(error.__context__, OSError) else error
    return errno.errorcode.get(first.errno or 0, "?")


class Intake:
    """Takes what arrives on one socket, a batch at a time.

    Args:
        sock: a non-blocking socket; readable as long as something waits on it.
        take: takes one connection or datagram, for example `sock.accept`.
        batch: how many are taken before other tasks run.
        journal: logs when the loop pauses and goes on.
        what: what the loop does, for the log: "accepting" or "receiving".
        where: the name of the socket in the log.
        rest: seconds that the loop rests after a full batch. So whoever connects without end
            takes only a part of a processor.
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
        rest: float = 0.0,
    ) -> None:
        self._socket = sock
        self._take = take
        self._batch = batch
        self._rest = rest
        self._journal = journal
        self._state = Switch(journal, what, where)
        self._where = where
        # How many of the next turns do not look for more, and how many the last look has granted.
        self._unasked = self._granted = 0

    async def serve(self, handle: Callable[[Any, float], None]) -> NoReturn:
        """Take for ever. A peer that misbehaves ends its own connection and not this loop.

        Args:
            handle: called with the result of `take` and with the time on Trio's clock at
                which the batch began, in seconds. It must not wait.
        """
        while True:
            await until_readable(self._socket, self._note)
            if pause := self._take_batch(handle):
                await trio.sleep(pause)

    def _note(self, error: OSError) -> None:
        self._state.off(_name_of(error))

    def _take_batch(self, handle: Callable[[Any, float], None]) -> float:
        """Handle what is ready, one batch at most; return how long the loop must pause."""
        now = trio.current_time()
        take = self._take
        failed = 0
        asks = not self._unasked
        for taken_before in range(self._batch if asks else 1):
            try:
                taken = take()
            except BlockingIOError:
                self._state.on()
                self._grant(lone=taken_before == 1)
                return 0.0
            except MemoryError:
                self._state.off("ENOMEM")
                return PAUSE
            except OSError as error:
                failed += 1
                # If every call of a batch fails, the error does not belong to one peer.
                if error.errno in _OF_ONE_PEER and failed < self._batch:
                    continue
                self._note(error)
                return PAUSE
            try:
                handle(taken, now)
            except Exception as error:  # one peer met a bug, or there was no memory for it
                self._journal.log(Level.ERROR, "failed", where=self._where, error=repr(error))
        self._state.on()
        if not asks:
            self._unasked -= 1
            return 0.0
        return self._rest

    def _grant(self, *, lone: bool) -> None:
        """Decide for how many turns nothing more is looked for."""
        self._granted = min(2 * self._granted + 1, UNASKED) if lone else 0
        self._unasked = self._granted
