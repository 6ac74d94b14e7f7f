"""Slow senders: `python -m torture.floods.slow FIRST SOURCES`.

Each sends a byte of the line now and then, and never the last one. There are many at once, and
each that the daemon closes is replaced by the next one of SOURCES addresses, IPv4 and IPv6. It
prints "begins", and at SIGTERM how many connections it has begun.
"""

import ipaddress
import signal
import socket
import sys
import time
from collections.abc import Iterator
from itertools import count
from typing import Final

from bench.flood import source
from torture.floods.sources import ATTACKED, PORT, begin, ipv4_source, yield_to_others

__all__ = ["main"]

_AT_ONCE: Final = 512  # twice as many as the daemon has places
_LINE: Final = b"nm_notifyuser"
_PAUSE: Final = 0.2  # seconds between two bytes of each
_FREEBIND: Final = 78  # IPV6_FREEBIND, linux/in6.h
_NO_PORT: Final = 24  # IP_BIND_ADDRESS_NO_PORT, linux/in.h


class _Slow:
    """One of them: its connection, and how much it has sent."""

    def __init__(self, number: int) -> None:
        family = socket.AF_INET6 if number % 2 else socket.AF_INET
        self._sock = socket.socket(family)
        self._sock.setblocking(False)
        if family == socket.AF_INET6:
            self._sock.setsockopt(socket.IPPROTO_IPV6, _FREEBIND, 1)
        self._sock.setsockopt(socket.IPPROTO_IP, _NO_PORT, 1)
        address = source(6, number) if number % 2 else ipv4_source(number)
        self._sock.bind((str(ipaddress.ip_address(address)), 0))
        self._sock.connect_ex((ATTACKED[6 if number % 2 else 4], PORT))
        self._sent = 0

    def goes_on(self) -> bool:
        """Send one more byte; return whether the connection is still of use."""
        try:
            self._sock.send(_LINE[self._sent : self._sent + 1])
        except BlockingIOError:  # not connected yet
            return True
        except OSError:  # the daemon has closed it, or refused it
            self.close()
            return False
        self._sent = min(self._sent + 1, len(_LINE) - 1)
        return True

    def close(self) -> None:
        self._sock.close()


def main(first: int, sources: int) -> None:
    """Send slowly until SIGTERM."""
    stopped: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: stopped.append(number))
    yield_to_others()
    numbers: Iterator[int] = (first + k % sources for k in count())
    live: list[_Slow] = []
    begun = 0
    while not stopped:
        live = [slow for slow in live if slow.goes_on()]
        missing = _AT_ONCE - len(live)
        live += [_Slow(next(numbers)) for _ in range(missing)]
        begun += missing
        begin()
        time.sleep(_PAUSE)  # what makes them slow
    for slow in live:
        slow.close()
    print(begun)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
