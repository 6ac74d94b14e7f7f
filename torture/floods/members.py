"""Hostile members of the local socket's group: `python -m torture.floods.members KIND SOCKET SEED`.

Each kind is a user of its own. It attacks as fast as it can until SIGTERM. It prints "begins", and
at the end how often it has connected.
"""

import os
import random
import signal
import socket
import sys
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Final, NamedTuple

from torture.floods.sources import begin, yield_to_others

__all__ = ["KINDS", "main"]

_CALL: Final = b'{"method":"org.mailbell.Listener.%s}\0'
_STATUS: Final = _CALL % b'GetStatus"'
_SUBSCRIBE: Final = _CALL % b'Subscribe","more":true'
_FOREIGN: Final = (
    _CALL % b'Subscribe","more":true,"parameters":{"after":{"epoch":"x","sequence":5}}'
)
# The group of the user nobody, which is the daemon's user, and numbers that no user has here.
_GROUP: Final = 65534
_FIRST_USER: Final = 20_000


class _Kind(NamedTuple):
    """What members of a kind do.

    Attributes:
        most: how many connections it holds at once.
        says: what it says on one.
        pause: seconds between two. Who never reads must stay for some time to be told anything.
    """

    most: int
    says: Callable[[random.Random], bytes]
    pause: float = 0.0


KINDS: Final = {
    "connect": _Kind(1, lambda _: b""),
    "half": _Kind(32, lambda chance: _STATUS[: chance.randrange(1, len(_STATUS) - 1)]),
    "calls": _Kind(16, lambda chance: _STATUS * chance.randrange(1, 30)),
    "deaf": _Kind(40, lambda chance: chance.choice((_SUBSCRIBE, _FOREIGN)), pause=0.2),
}
"""What there is."""


def main(kind: str, path: str, seed: int) -> None:
    """Attack until SIGTERM."""
    stopped: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: stopped.append(number))
    yield_to_others()
    os.setgroups([])
    os.setgid(_GROUP)
    os.setuid(_FIRST_USER + list(KINDS).index(kind))
    most, says, pause = KINDS[kind]
    chance = random.Random(seed)  # noqa: S311 - an attack that can be repeated, and no secret
    live: deque[socket.socket] = deque()
    connections = 0
    while not stopped:
        sock = _connected(path, says(chance))
        if sock is None:
            continue
        connections += 1
        begin()
        live.append(sock)
        if len(live) > most:
            live.popleft().close()
        if pause:
            time.sleep(pause)  # the rate of the attack
    for sock in live:
        sock.close()
    print(connections)


def _connected(path: str, words: bytes) -> socket.socket | None:
    """Return a connection on which this was said; None: the queue is full."""
    sock = socket.socket(socket.AF_UNIX)
    sock.setblocking(False)
    try:
        sock.connect(path)
    except OSError:
        sock.close()
        return None
    with suppress(OSError):  # the daemon may close at any time
        sock.send(words)
    return sock


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
