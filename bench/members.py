"""Hostile members of the local socket's group: `python members.py SOCKET PER_SECOND`.

They connect, call, and leave, so often in a second: for the status, and for a subscription with
a foreign cursor. Some others subscribe and never read. It prints "begins", and at the end how
often it connected. SIGTERM ends it.
"""

import signal
import socket
import sys
import time
from collections import deque
from contextlib import suppress
from itertools import cycle
from typing import Final

__all__ = ["main"]

_CALL: Final = b'{"method":"org.mailbell.Listener.%s}\0'
_STATUS: Final = _CALL % b'GetStatus"' * 10
_FOREIGN: Final = (
    _CALL % b'Subscribe","more":true,"parameters":{"after":{"epoch":"x","sequence":5}}'
)
# How many connections are open at once, and how many subscribers never read.
_OPEN: Final = 16
_DEAF: Final = 16


def main(path: str, per_second: float) -> None:
    """Attack until SIGTERM."""
    stopped: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: stopped.append(number))
    deaf = [_connected(path, _FOREIGN, patient=True) for _ in range(_DEAF)]
    print("begins", flush=True)
    connections, due = 0, time.monotonic()
    live: deque[socket.socket] = deque()
    for call in cycle((_STATUS, _FOREIGN)):
        time.sleep(max(0.0, due - time.monotonic()))
        due += 1 / per_second
        if stopped:
            break
        sock = _connected(path, call, patient=False)
        if sock is None:
            continue
        connections += 1
        live.append(sock)
        if len(live) > _OPEN:
            live.popleft().close()
    for sock in [*live, *deaf]:
        if sock is not None:
            sock.close()
    print(connections)


def _connected(path: str, call: bytes, *, patient: bool) -> socket.socket | None:
    """Return a connection on which a call was sent; None: the queue is full."""
    sock = socket.socket(socket.AF_UNIX)
    sock.setblocking(patient)
    try:
        sock.connect(path)
    except OSError:
        sock.close()
        return None
    with suppress(OSError):  # the daemon may close at any time
        sock.send(call)
    return sock


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]))
