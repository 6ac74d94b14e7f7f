"""The hook's socket: takes lines from every user of this machine, and answers nothing.

Connections are accepted in batches. A hook connects, writes one line and closes, so the line
is nearly always there. Then the connection is accepted, read and closed at once, without a
task. Only a connection that stays open gets a task and one of a limited number of places
(`mailbell.sender._hook_places`).

Input that is no line of ours ends its connection. So does all that is refused of a user who is
not trusted. A trusted user's connection stays open: Dovecot has one connection for all events,
and would lose those behind an event for an account that is not listed.

No code here writes to a connection: Exim takes an answer for a failure.
"""

import socket
from collections.abc import Iterable
from contextlib import suppress
from functools import partial
from math import inf
from typing import Final

import trio

from mailbell._sys.connections import close, make_socket_acceptor
from mailbell._sys.sockets import peer_credentials
from mailbell.core.sender_outcome import InputOutcome
from mailbell.logs.journal import Journal, Level
from mailbell.logs.switch import Switch
from mailbell.sender._hook_line import parse_line_untrusted
from mailbell.sender._hook_places import Place, Places
from mailbell.sender._line_decoder import (
    MAX_EVENT,
    STRANGERS_MAX_EVENT,
    LineDecoder,
    LineTooLong,
)
from mailbell.sender._reception import Reception
from mailbell.sender._requests import IGNORED, Malformed
from mailbell.sender._speakers import Origin, Speaker
from mailbell.serving.intake import Intake

__all__ = ["PLACES", "HookServer"]

PLACES: Final = 256
"""How many connections may stay open at once."""

# Connections accepted before other tasks run. There is no rest after a full batch: while the
# queue of the socket is full, hooks find no room in it and are lost.
BATCH: Final = 64
CHUNK: Final = 1024  # bytes read of one connection before other tasks run
QUEUE: Final = 4096  # connections that may wait to be accepted, at the end of the sender
REST_OF_ONE: Final = 256  # chunks read of one connection at that end: more than the kernel holds
TOGETHER: Final = 0.05  # seconds between two looks at the accounts that ring late
# Attempts to read when a connection is accepted: its line, and the end of the stream.
AT_ONCE: Final = 2

_TOO_LONG: Final = Malformed("over the length of a line, or of an event", InputOutcome.TOO_LONG)
_DISPLACED: Final = Malformed("its place was needed", InputOutcome.RATE_LIMITED)
_BROKEN: Final = Malformed("the connection broke within the line")
_ENDING: Final = frozenset({InputOutcome.MALFORMED, InputOutcome.TOO_LONG})


class _Peer:
    """One connection.

    Attributes:
        connection: the socket; closed when the peer has ended.
        speaker: who is at the other end.
        is_trusted: whether that user may speak for every account.
        decoder: splits what arrives into lines.
        place: None as long as the connection has none.
        has_spoken: whether an input of it was accepted that is not ignored.
    """

    __slots__ = (
        "connection", "decoder", "has_spoken", "is_trusted", "place", "speaker",
    )  # fmt: skip

    def __init__(self, connection: socket.socket, speaker: Speaker, is_trusted: bool) -> None:
        self.connection = connection
        self.speaker = speaker
        self.is_trusted = is_trusted
        self.decoder = LineDecoder(MAX_EVENT if is_trusted else STRANGERS_MAX_EVENT)
        self.place: Place | None = None
        self.has_spoken = False

    @property
    def is_closed(self) -> bool:
        return self.connection.fileno() < 0


class HookServer:
    """Serves one listening Unix stream socket.

    Args:
        sock: the listening socket, non-blocking.
        reception: decides about each line.
        journal: logs changes of state, and bugs.
        places: how many connections may stay open at once.

    Attributes:
        displaced: how many connections lost their place to others.
    """

    def __init__(
        self, sock: socket.socket, reception: Reception, journal: Journal, *, places: int = PLACES
    ) -> None:
        self._reception = reception
        self._journal = journal
        self._places = Places(places)
        self._state = Switch(journal, "waiting", "hook")
        self._most = places
        self.displaced = 0
        self._accept = make_socket_acceptor(sock)
        self._intake = Intake(
            sock,
            self._accept,
            batch=BATCH,
            journal=journal,
            what="accepting",
            where="hook",
        )
        self._nursery: trio.Nursery  # of the connections that stay open

    @property
    def connections(self) -> int:
        """How many connections stay open now."""
        return len(self._places)

    async def serve(self) -> None:
        """Accept for ever. A peer that misbehaves ends its own connection and no other."""
        async with trio.open_nursery() as self._nursery:
            self._nursery.start_soon(self._ring_late)
            await self._intake.serve(self._admit_untrusted)

    async def _ring_late(self) -> None:
        """Ring the accounts that wait because a limit refused their notification.

        Of several servers the one that waited last is woken, and rings for all.
        """
        while True:
            event = trio.Event()
            self._reception.late.wake = event.set
            due = self._reception.ring_late(trio.current_time())
            if due == inf:
                await event.wait()
            else:
                # Accounts that are due at nearly the same time ring together.
                await trio.sleep_until(max(due, trio.current_time() + TOGETHER))

    def drain(self) -> None:
        """Take what waits in the socket's queue, at the end of the sender.

        The queue ends with the socket, unless a service manager keeps it for the next run. Then
        do not call this.
        """
        for _ in range(QUEUE):
            try:
                connection = self._accept()
            except OSError:  # nothing waits any more
                return
            try:
                speaker = Speaker(peer_credentials(connection).uid, Origin.HOOK)
                is_trusted = self._reception.is_trusted(speaker)
                self._read_rest(_Peer(connection, speaker, is_trusted))
            except OSError as error:  # what the others say must not be lost with it
                self._journal.log(Level.ERROR, "failed", where="hook", error=repr(error))
            finally:
                close(connection)

    def _read_rest(self, peer: _Peer) -> None:
        """Read what has arrived, because the connection ends now."""
        now = trio.current_time()
        for _ in range(REST_OF_ONE):
            if peer.is_closed or self._read_untrusted(peer, now) is not None:
                return

    def _admit_untrusted(self, connection: socket.socket, now: float) -> None:
        try:
            speaker = Speaker(peer_credentials(connection).uid, Origin.HOOK)
            if not self._reception.admit_connection(speaker, now):
                close(connection)
                return
            peer = _Peer(connection, speaker, self._reception.is_trusted(speaker))
            for _ in range(AT_ONCE):
                if self._read_untrusted(peer, now):
                    close(connection)
                    return
            self._take_place(peer, now)
        except BaseException:  # it has no other owner
            close(connection)
            raise

    def _take_place(self, peer: _Peer, now: float) -> None:
        uid = peer.speaker.uid or 0
        full = len(self._places) >= self._most
        scope = trio.CancelScope()
        end = partial(self._displace, peer, scope)
        place = self._places.enter(uid, end, is_trusted=peer.is_trusted)
        if full:
            self._state.off("full")
        elif 2 * len(self._places) <= self._most:
            # Not at the first free place: near the limit that would log a line each time.
            self._state.on()
        if place is None:
            self._end_within(peer, _DISPLACED, now)
            self.displaced += 1
            close(peer.connection)
            return
        peer.place = place
        if peer.has_spoken:
            self._places.speak(place)
        try:
            self._nursery.start_soon(self._wait, peer, place, scope)
        except MemoryError:  # no task exists that would give the place back
            self._places.leave(place)
            raise

    async def _wait(self, peer: _Peer, place: Place, scope: trio.CancelScope) -> None:
        """Read all that comes, until the peer has ended or its place is needed."""
        try:
            with scope, suppress(trio.ClosedResourceError):
                while not peer.is_closed:
                    await trio.lowlevel.wait_readable(peer.connection)
                    if self._read_untrusted(peer, trio.current_time()):
                        break
        except trio.Cancelled:  # the sender ends, and what has arrived would be lost
            self._read_rest(peer)
            raise
        except Exception as error:  # a bug that one peer meets must not stop the others
            self._journal.log(Level.ERROR, "failed", where="hook", error=repr(error))
        finally:
            self._end(peer)
            self._places.leave(place)

    def _displace(self, peer: _Peer, scope: trio.CancelScope) -> None:
        """End a connection at once, because a new one needs its place and descriptor."""
        trio.lowlevel.notify_closing(peer.connection)
        scope.cancel()
        now = trio.current_time()
        # Read once more: a line may have arrived at this moment.
        if not self._read_untrusted(peer, now):
            self._end_within(peer, _DISPLACED, now)
        self.displaced += 1
        self._end(peer)

    def _end(self, peer: _Peer) -> None:
        """Close a connection and drop what is held for it."""
        close(peer.connection)
        # The place refers to the peer too. In a circle the bytes would wait for the collector.
        peer.place = None

    def _read_untrusted(self, peer: _Peer, now: float) -> bool | None:
        """Take what is there, one chunk at most.

        Returns:
            Whether the connection has ended. None: it has not, and more may be there.
        """
        try:
            data = peer.connection.recv(CHUNK, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return False
        except OSError:
            self._end_within(peer, _BROKEN, now)
            return True
        if not data:
            self._take_lines(peer, peer.decoder.finish(), now)
            return True
        try:
            return self._take_lines(peer, peer.decoder.feed_untrusted(data), now) or None
        except LineTooLong as error:
            if not self._take_lines(peer, error.lines, now):
                self._reception.take(_TOO_LONG, peer.speaker, now)
            return True

    def _take_lines(self, peer: _Peer, lines: Iterable[bytes], now: float) -> bool:
        """Take lines until one ends the connection; return whether one does."""
        for line in lines:
            request = parse_line_untrusted(line)
            outcome = self._reception.take(request, peer.speaker, now)
            if outcome is InputOutcome.ACCEPTED:
                if request is IGNORED:  # it makes nobody more worthy of a place
                    continue
                peer.has_spoken = True
                if peer.place is not None:
                    self._places.speak(peer.place)
            elif outcome in _ENDING or not peer.is_trusted:
                return True
        return False

    def _end_within(self, peer: _Peer, why: Malformed, now: float) -> None:
        """Count the line that a connection ended within, if it did."""
        if peer.decoder.is_within_line:
            self._reception.take(why, peer.speaker, now)
