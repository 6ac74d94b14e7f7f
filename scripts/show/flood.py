"""Rings the laptop as fast as it can: `python3 - SECONDS`, on a host of the show that nobody knows.

It reaches the laptop of the show alone, which is in namespaces of its own, and ends by itself.
It prints how many notifications it has sent by TCP and by UDP.
"""

import socket
import sys
import time

LAPTOP = ("192.0.2.7", 79)
RING = b"nm_notifyuser\r\n"


def main(seconds: float) -> None:
    """Ring until the time is over."""
    end = time.monotonic() + seconds
    tcp = udp = 0
    datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    while time.monotonic() < end:
        for _ in range(20):
            datagrams.sendto(RING, LAPTOP)
            udp += 1
        try:
            with socket.create_connection(LAPTOP, 0.5) as connection:
                connection.sendall(RING)
                tcp += 1
        except OSError:
            continue  # refused or reset: it tries again
    print(tcp, udp)


if __name__ == "__main__":
    main(float(sys.argv[1]))
