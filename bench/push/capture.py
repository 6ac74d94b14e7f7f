"""Which packets cross a cable: a packet socket at the server's end sees each of them once."""

import socket
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from statistics import median
from typing import Final, NamedTuple

from harness.netns import Namespace

from bench.push.record import Burst

__all__ = ["Capture", "Packet", "bursts", "captured", "middle", "packet"]

_EVERYTHING: Final = 3  # ETH_P_ALL, linux/if_ether.h
_ETHERNET: Final = 14
_IPV4: Final = b"\x08\x00"
_TCP: Final = 6
# Packets that are no further apart belong together: a question, its answer, its acknowledgement.
_GAP: Final = 0.9


class Packet(NamedTuple):
    """A packet of TCP.

    Attributes:
        at: when it crossed.
        laptop: the address of the laptop.
        arrives: whether it goes to the laptop.
        octets: bytes with the headers of IP and TCP.
        payload: bytes that TCP carries.
    """

    at: float
    laptop: str
    arrives: bool
    octets: int
    payload: int


def packet(frame: bytes, server: str, at: float) -> Packet | None:
    """Read a frame of Ethernet.

    Args:
        frame: all of it.
        server: the address of the server; the other one is a laptop's.
        at: when it came.

    Returns:
        What it is; None: no TCP over IPv4, such as ARP.
    """
    if frame[12:14] != _IPV4 or frame[_ETHERNET + 9] != _TCP:
        return None
    header = frame[_ETHERNET:]
    octets = int.from_bytes(header[2:4])
    tcp = header[(header[0] & 0x0F) * 4 :]
    payload = octets - (header[0] & 0x0F) * 4 - (tcp[12] >> 4) * 4
    source, target = (socket.inet_ntoa(header[n : n + 4]) for n in (12, 16))
    arrives = source == server
    return Packet(at, target if arrives else source, arrives, octets, payload)


class Capture:
    """A packet socket that is read until the end of a block."""

    def __init__(self, sock: socket.socket, server: str) -> None:
        self._sock = sock
        self._server = server
        self._packets: list[Packet] = []
        self._lock = threading.Lock()
        self._ending = False
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        while not self._ending:
            try:
                frame = self._sock.recv(65536)
            except TimeoutError:
                continue
            if found := packet(frame, self._server, time.monotonic()):
                with self._lock:
                    self._packets.append(found)

    def between(self, laptop: str, begun: float, ended: float) -> list[Packet]:
        """Return what crossed to and from a laptop in a time."""
        with self._lock:
            return [p for p in self._packets if p.laptop == laptop and begun <= p.at < ended]

    def end(self) -> None:
        """Read no more."""
        self._ending = True
        self._reader.join()


@contextmanager
def captured(host: Namespace, cable: str, server: str) -> Iterator[Capture]:
    """Note what crosses a cable until the end of the block.

    Args:
        host: at whose end.
        cable: the name of its interface.
        server: the host's own address.
    """
    with host.socket(socket.AF_PACKET, socket.SOCK_RAW) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
        sock.settimeout(0.2)
        sock.bind((cable, _EVERYTHING))
        capture = Capture(sock, server)
        try:
            yield capture
        finally:
            capture.end()


def bursts(packets: Iterable[Packet]) -> list[list[Packet]]:
    """Divide packets into occasions: what follows after a pause is the next one."""
    found: list[list[Packet]] = []
    last = float("-inf")
    for each in packets:
        if each.at - last > _GAP:
            found.append([])
        found[-1].append(each)
        last = each.at
    return found


def middle(found: list[list[Packet]]) -> Burst | None:
    """Return the median of several occasions; None: there is none."""
    if not found:
        return None
    return Burst(
        median(sum(p.octets for p in burst) for burst in found),
        median(sum(p.payload for p in burst) for burst in found),
        median(sum(p.arrives for p in burst) for burst in found),
    )
