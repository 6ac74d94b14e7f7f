"""The good senders, and the subscriber who measures when it is told.

A ring is delivered when the subscriber has been told of it: the counts of what it is told of an
account are summed up. The time is from the sender's `connect()` until then. Each sender rings every
two seconds, so that the least time between two wake-ups of an account (`coalesce.interval`, one
second) is no part of what is measured. There are four, in turn.
"""

import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from harness.sender import LINE

from mailbell.client import Client
from mailbell.core.errors import MailbellError, TemporaryError
from torture.floods.hosts import RUNG, SENDERS, Hosts, Sender
from torture.floods.sources import PORT

__all__ = ["EVERY", "Tally", "listening", "ringing", "until_told"]

EVERY: Final = 2.0
"""Seconds from one ring of a sender to its next."""

# Seconds for one connection. TCP sends a first packet again after 1, 3, 7 and 15 seconds.
_PATIENCE: Final = 40.0
# Seconds after the end of the last connection until the subscriber must have been told.
_SETTLE: Final = 5.0


class Tally:
    """What was rung, and what the subscriber was told.

    Attributes:
        sent: rings of which the sender has begun the connection.
        failed: a line for each that the sender saw refused, or that did not end.
        seconds: how long each one took that was delivered.
        more: of how many more the subscriber was told than were sent.
        ended: why the subscription has ended by itself; empty: it has not.
    """

    def __init__(self) -> None:
        self.sent = self.more = 0
        self.ended = ""
        self.failed: list[str] = []
        self.seconds: list[float] = []
        self._pending: dict[str, deque[float]] = {sender.account: deque() for sender in SENDERS}
        self._lock = threading.Lock()

    @property
    def delivered(self) -> int:
        """How many the subscriber was told of."""
        return len(self.seconds)

    def ring(self, account: str) -> None:
        """Note that a sender begins a connection."""
        with self._lock:
            self.sent += 1
            self._pending[account].append(time.monotonic())

    def fail(self, sender: Sender, error: OSError) -> None:
        """Note that a sender's connection has failed. It may have rung all the same."""
        with self._lock:
            self.failed.append(f"{sender.account} from {sender.source}: {error}")

    def tell(self, account: str, count: int) -> None:
        """Note that the subscriber was told of an account."""
        now = time.monotonic()
        with self._lock:
            pending = self._pending[account]
            for _ in range(min(count, len(pending))):
                self.seconds.append(now - pending.popleft())
                count -= 1
            self.more += count

    def missing(self) -> list[str]:
        """Name the accounts with rings of which the subscriber was not told."""
        with self._lock:
            return [name for name, pending in self._pending.items() for _ in pending]


@contextmanager
def listening(path: str, tally: Tally) -> Iterator[None]:
    """Subscribe to the accounts of the good senders until the end of the block.

    Args:
        path: of the daemon's local socket.
        tally: is told.
    """
    stopped = threading.Event()
    accounts = [sender.account for sender in SENDERS]
    with Client(path) as client, client.subscribe(accounts, reconnect=False) as subscription:

        def listen() -> None:
            while not stopped.is_set():
                try:
                    told = subscription.next(0.2)
                except TemporaryError:  # nothing came: look whether to go on
                    continue
                except MailbellError as error:
                    tally.ended = str(error)
                    return
                tally.tell(told.account, told.count)

        with _threads([threading.Thread(target=listen)], stopped):
            yield


@contextmanager
def ringing(hosts: Hosts, tally: Tally) -> Iterator[None]:
    """Let the good senders ring until the end of the block, and finish what they have begun.

    Args:
        hosts: where they are.
        tally: is told.
    """
    stopped = threading.Event()

    def ring(sender: Sender, first: float) -> None:
        due = time.monotonic() + first
        while not stopped.wait(max(0.0, due - time.monotonic())):
            _ring(hosts, sender, tally)
            # A sender that was held up does not make up for it.
            due = max(due + EVERY, time.monotonic())

    step = EVERY / len(SENDERS)
    threads = [
        threading.Thread(target=ring, args=(sender, step * number))
        for number, sender in enumerate(SENDERS)
    ]
    with _threads(threads, stopped):
        yield


def until_told(tally: Tally) -> None:
    """Wait until everything that was rung has been told, or nothing of it will be any more.

    Args:
        tally: of senders that do not ring any more.
    """
    last = time.monotonic() + _SETTLE
    while tally.missing() and time.monotonic() < last:
        time.sleep(0.02)  # another thread is told


def _ring(hosts: Hosts, sender: Sender, tally: Tally) -> None:
    with hosts.connection(sender, _PATIENCE) as sock:
        tally.ring(sender.account)
        try:
            sock.connect((RUNG[sender.family], PORT))
            sock.sendall(LINE)
            while sock.recv(16):
                pass
        except OSError as error:
            tally.fail(sender, error)


@contextmanager
def _threads(threads: Sequence[threading.Thread], stopped: threading.Event) -> Iterator[None]:
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stopped.set()
        for thread in threads:
            thread.join()
