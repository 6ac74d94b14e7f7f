"""Connects to a host that has several addresses, some of which may lead nowhere.

Usually that is an IPv6 address that is announced and not routed. So the addresses share the
time. The next address is tried after a fraction of a second, and the first one that connects
is used (RFC 8305, "Happy Eyeballs"). The other connections are closed before anything is sent.
"""

import os
import select
import socket
import time
from collections import deque
from collections.abc import Sequence
from itertools import chain, zip_longest
from typing import Any, Final

__all__ = ["DELAY", "Candidate", "Failures", "connect", "interleaved", "send_datagram"]

Candidate = tuple[Any, Any, int, str, Any]
"""What getaddrinfo returns: family, type, protocol, canonical name, address."""

DELAY: Final = 0.25
"""Seconds until the next address is tried (RFC 8305, section 5: 250 ms)."""

# No machine that reads mail has more addresses. The answer of a name server may have
# thousands, and each attempt needs a descriptor.
_MOST: Final = 32


class Failures(Exception):  # noqa: N818 - several errors in one, which the caller puts into words
    """No address could be reached.

    Attributes:
        all: each address with its error, in the order in which they failed.
    """

    def __init__(self, failed: Sequence[tuple[Candidate, OSError]]) -> None:
        super().__init__(f"{len(failed)} addresses failed")
        self.all = tuple(failed)


def interleaved(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Order addresses so that both families are tried early (RFC 8305, section 4).

    Args:
        candidates: as getaddrinfo sorts them.

    Returns:
        The first of them, then one of the other family, and so on; 32 at most.
    """
    first = [each for each in candidates if each[0] == candidates[0][0]]
    others = [each for each in candidates if each[0] != candidates[0][0]]
    pairs = chain.from_iterable(zip_longest(first, others))
    return [each for each in pairs if each is not None][:_MOST]


def connect(candidates: Sequence[Candidate], deadline: float) -> tuple[socket.socket, Candidate]:
    """Connect to the first address that answers.

    Args:
        candidates: the addresses in the order of the attempts, all of a stream type.
        deadline: a time of the monotonic clock in seconds, for all addresses together.

    Returns:
        A connected, non-blocking socket, and its address. All other connections are closed.

    Raises:
        Failures: no address answered. An address that was silent failed with TimeoutError.
    """
    race = _Race(candidates, deadline)
    try:
        return race.run()
    finally:
        race.close()


class _Race:
    """The attempts to connect that run at the same time."""

    def __init__(self, candidates: Sequence[Candidate], deadline: float) -> None:
        self._waiting = deque(candidates)
        self._deadline = deadline
        # If the time is short, each address still gets a share of it.
        share = (deadline - time.monotonic()) / max(len(candidates), 1)
        self._delay = min(DELAY, max(share, 0.0))
        self._next = 0.0
        self._poll = select.poll()
        self._open: dict[int, tuple[socket.socket, Candidate]] = {}
        self._failed: list[tuple[Candidate, OSError]] = []

    def run(self) -> tuple[socket.socket, Candidate]:
        """Start one attempt after another, until one has connected."""
        while self._waiting or self._open:
            now = time.monotonic()
            if self._open and now >= self._deadline:
                self._give_up()
            elif self._waiting and (not self._open or now >= self._next):
                self._next = now + self._delay
                self._start(self._waiting.popleft())
            elif winner := self._wait(now):
                return winner
        raise Failures(self._failed)

    def close(self) -> None:
        """Close the connections of all other attempts."""
        for sock, _ in self._open.values():
            sock.close()
        self._open.clear()

    def _start(self, candidate: Candidate) -> None:
        family, kind, protocol, _, address = candidate
        try:
            sock = socket.socket(family, kind | socket.SOCK_NONBLOCK, protocol)
        except OSError as error:
            self._failed.append((candidate, error))
            return
        self._open[sock.fileno()] = sock, candidate
        self._poll.register(sock, select.POLLOUT)
        try:
            sock.connect(address)
        except BlockingIOError:
            pass
        except OSError as error:
            self._fail(sock.fileno(), error)

    def _wait(self, now: float) -> tuple[socket.socket, Candidate] | None:
        """Wait until an attempt has ended or the next one may start."""
        until = min(self._deadline, self._next) if self._waiting else self._deadline
        for descriptor, _ in self._poll.poll(_milliseconds(until - now)):
            sock, _ = self._open[descriptor]
            number = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if not number:
                self._poll.unregister(descriptor)
                return self._open.pop(descriptor)
            self._fail(descriptor, OSError(number, os.strerror(number)))
        return None

    def _fail(self, descriptor: int, error: OSError) -> None:
        self._poll.unregister(descriptor)
        sock, candidate = self._open.pop(descriptor)
        sock.close()
        self._failed.append((candidate, error))
        self._next = 0.0  # RFC 8305, section 5: after a failure the next one starts at once

    def _give_up(self) -> None:
        self._failed += [(candidate, TimeoutError()) for candidate in self._waiting]
        self._waiting.clear()
        for descriptor in tuple(self._open):
            self._fail(descriptor, TimeoutError())


def _milliseconds(seconds: float) -> float:
    # poll(2) takes an int: 24 days. What is longer is waited for in several parts.
    return min(max(seconds, 0.0), 86_400.0) * 1000


def send_datagram(candidates: Sequence[Candidate], data: bytes, deadline: float) -> Candidate:
    """Send one datagram to the first address that does not refuse it.

    Nothing answers a datagram, so an address that swallows it cannot be told from one
    that takes it. Only an error shows that it did not arrive: there is no route, a local
    filter forbids it, or the host says that nothing listens. The last of these takes a
    moment, which is waited for while there is another address to try.

    Args:
        candidates: in the order in which they are tried; all of a datagram type.
        data: the datagram.
        deadline: for all of them together, on the monotonic clock.

    Returns:
        The address that it was sent to.

    Raises:
        Failures: each address refused it.
    """
    failed: list[tuple[Candidate, OSError]] = []
    for place, candidate in enumerate(candidates, 1):
        left = max(deadline - time.monotonic(), 0.0)
        patience = min(DELAY, left) if place < len(candidates) else 0.0
        try:
            _send_one(candidate, data, patience)
        except OSError as error:
            failed.append((candidate, error))
        else:
            return candidate
    raise Failures(failed)


def _send_one(candidate: Candidate, data: bytes, patience: float) -> None:
    family, kind, protocol, _, address = candidate
    with socket.socket(family, kind | socket.SOCK_NONBLOCK, protocol) as sock:
        sock.connect(address)
        sock.send(data)
        poll = select.poll()
        poll.register(sock, 0)  # errors alone
        poll.poll(_milliseconds(patience))
        number = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if number:
            raise OSError(number, os.strerror(number))
