"""A stranger who rings and rings: `python flood.py PER_SECOND SECONDS ADDRESS...`.

It sends the line of RFC 4146 to port 79 of each address in turn, by TCP and by UDP. Of the
connections half say nothing, and stay open until there are 64 newer ones. It prints "begun", ends
after the time or with its standard input, and then prints how often it has rung: TCP and UDP.
"""

import select
import socket
import sys
import time
from collections import deque
from contextlib import suppress
from itertools import count
from typing import Final

_PORT: Final = 79
_LINE: Final = b"nm_notifyuser\r\n"
_HELD: Final = 64  # connections


def _socket(address: str, kind: int) -> socket.socket:
    made = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, kind)
    made.setblocking(False)
    # A connection that is in the making, or a port that is closed, is no reason to stop.
    with suppress(OSError):
        made.connect((address, _PORT))
    return made


def _say(sock: socket.socket) -> None:
    with suppress(OSError):
        sock.send(_LINE)


def flood(rate: int, seconds: float, addresses: list[str]) -> dict[str, int]:
    """Ring until the time is over or standard input ends; return how often by what.

    Args:
        rate: rings a second.
        seconds: at most.
        addresses: of the machines, of either family.
    """
    rung = {"tcp": 0, "udp": 0}
    held: deque[socket.socket] = deque()
    end = time.monotonic() + seconds
    for number in count():
        if time.monotonic() > end or select.select([sys.stdin], [], [], 1 / rate)[0]:
            break
        address = addresses[number // 3 % len(addresses)]
        if number % 3 == 0:
            with _socket(address, socket.SOCK_DGRAM) as datagram:
                _say(datagram)
            rung["udp"] += 1
            continue
        held.append(_socket(address, socket.SOCK_STREAM))
        rung["tcp"] += 1
        if len(held) > _HELD:
            with held.popleft() as oldest:
                if number % 3 == 1:
                    _say(oldest)
    while held:
        held.pop().close()
    return rung


def main(words: list[str]) -> None:
    """Flood as the command line says."""
    print("begun", flush=True)
    rung = flood(int(words[0]), float(words[1]), words[2:])
    print(rung["tcp"], rung["udp"], flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
