"""Takes the datagrams of Cyrus IMAP so fast that Cyrus never waits, in a process of its own.

The kernel keeps ten datagrams for a socket. If nobody takes them, Cyrus waits with its
deliveries. So this process does nothing else: it never waits for the sender, nor for the log. It
is locked in and can reach nothing but the sender.
"""

import os
import select
import socket
import time
from functools import partial
from typing import Final

from mailbell._sys.credentials import Identity
from mailbell.logs.journal import Journal, Level
from mailbell.logs.switch import Switch
from mailbell.sandbox.lock import lock
from mailbell.sender import _companion
from mailbell.sender._companion import Companion, confine, say_ready
from mailbell.sender._cyrus_event import MAX_DATAGRAM, parse_datagram_untrusted
from mailbell.sender._cyrus_queue import CyrusQueue
from mailbell.sender._pair import says_the_end

__all__ = ["PROGRAM", "start"]

PROGRAM: Final = "mailbell-cyrus"
_BATCH: Final = 256  # datagrams that are taken before the sender is told
_SPARE_DESCRIPTORS: Final = 16
_PAUSE: Final = 250.0  # milliseconds
_ENDED: Final = select.POLLIN | select.POLLHUP | select.POLLERR


def start(sock: socket.socket, identity: Identity | None) -> Companion:
    """Start the reader. Call it before the event loop and before the lock.

    Args:
        sock: the bound datagram socket that Cyrus sends to. It is closed in this process, so
            that Cyrus gets an error at once, and does not wait, when the reader has ended.
        identity: the user of the sender; None: this process has no privilege to change its user.

    Returns:
        The companion. Its pair delivers the datagrams that matter, one a message. If it reads
        the end of the stream, the reader has ended: then the sender must end too, because
        nothing else starts the reader again.

    Raises:
        MailbellError: it could not start.
    """
    return _companion.start(PROGRAM, partial(_run, identity, sock), keep=[sock])


def _run(identity: Identity | None, cyrus: socket.socket, far: socket.socket) -> None:
    """Be the reader until the sender ends."""
    reader = _Reader(cyrus, far)
    parse_datagram_untrusted(b"")
    parse_datagram_untrusted(b"a\0EVENT\0\0\0\x000\0{}\0")
    unprivileged = confine(
        PROGRAM,
        identity,
        open_files=_SPARE_DESCRIPTORS + max(cyrus.fileno(), far.fileno()),
        descriptors={"CYRUS": cyrus.fileno(), "SENDER": far.fileno()},
    )
    lock(unprivileged)
    say_ready(far)
    reader.serve()


class _Reader:
    """The locked process. No call of it ever waits, except for something to do.

    Args:
        cyrus: the socket that Cyrus sends to.
        far: this process's end of the pair.
    """

    def __init__(self, cyrus: socket.socket, far: socket.socket) -> None:
        self._cyrus = cyrus
        self._far = far
        self._queue = CyrusQueue(parse_datagram_untrusted)
        self._journal = Journal(_write_line, time.monotonic)
        self._dropping = Switch(self._journal, "passing_on", "cyrus")
        self._is_ending = False
        self._lacks = False  # the kernel refused something that it will permit again

    def serve(self) -> None:
        """Serve until the sender ends, or has all that waited and wants no more."""
        poll = select.poll()
        while True:
            wait = self._register(poll)
            self._lacks = False
            for descriptor, events in poll.poll(wait):
                if descriptor == self._cyrus.fileno():
                    self._take()
                elif events & _ENDED and self._has_sender_ended(events):
                    return
            if self._is_ending:
                self._take()  # once more: with this process its socket ends
            self._pass_on()
            if self._is_ending and not self._queue:
                return

    def _register(self, poll: select.poll) -> float | None:
        """Say what is waited for; return for how long at most, in milliseconds."""
        if self._lacks:  # what is there stays there, and is refused again: only time helps
            poll.register(self._cyrus, 0)
            poll.register(self._far, 0)
            return _PAUSE
        more = select.POLLOUT if self._queue else 0
        poll.register(self._cyrus, select.POLLIN)
        poll.register(self._far, select.POLLIN | more)
        return None

    def _take(self) -> None:
        for _ in range(_BATCH):
            try:
                data = self._cyrus.recv(MAX_DATAGRAM + 1, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return
            except OSError:  # no memory for it now
                self._lacks = True
                return
            self._keep(data)

    def _keep(self, data: bytes) -> None:
        try:
            kept = self._queue.add(data)
        except Exception as error:  # a bug costs this datagram, and not the reader
            self._journal.log(Level.ERROR, "failed", where="cyrus", error=repr(error))
            return
        if not kept:
            self._dropping.off("the sender does not read")

    def _pass_on(self) -> None:
        while self._queue:
            try:
                self._far.send(self._queue.first(), socket.MSG_DONTWAIT)
            except BlockingIOError:  # the sender is busy
                return
            except OSError:  # no memory now, or the sender has ended, which `serve` notices
                self._lacks = True
                return
            self._queue.remove_first()
        self._dropping.on()

    def _has_sender_ended(self, events: int) -> bool:
        """Tell whether the sender has ended. A message of it says that it is about to."""
        try:
            self._is_ending = bool(self._far.recv(1, socket.MSG_DONTWAIT))
        except BlockingIOError:
            return False
        except OSError as error:
            self._lacks = not events & select.POLLHUP and not says_the_end(error)
            return not self._lacks
        return not self._is_ending


def _write_line(line: str) -> bool:
    """Write a line to the log if that does not wait. Otherwise the line is lost."""
    data = line.encode() + b"\n"
    try:
        log = select.poll()
        log.register(2, select.POLLOUT)
        if not log.poll(0):  # a pipe that can be written to has room for a line: pipe(7)
            return False
        return os.write(2, data) == len(data)
    except OSError:
        return False
