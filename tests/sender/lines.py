"""Hosts on loopback that get notifications, and one that never answers."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager

from harness.ports import free_port

from mailbell.core.networks import Address, parse_address
from mailbell.core.notification import Transport
from mailbell.core.target import Target

__all__ = ["FAMILIES", "LOOPBACK", "accepted", "black_hole", "host", "listening", "place"]

PATIENCE = 20.0
FAMILIES = [socket.AF_INET, socket.AF_INET6]
LOOPBACK = {socket.AF_INET: "127.0.0.1", socket.AF_INET6: "::1"}


def listening(family: int = socket.AF_INET, backlog: int = 4096, port: int = 0) -> socket.socket:
    """Listen on a port of every loopback address. The kernel answers, whatever the test does."""
    sock = socket.socket(family)
    # Without this option it could be reached from the network.
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"lo\0")
    sock.bind(("" if family == socket.AF_INET else "::1", port))
    sock.listen(backlog)
    sock.settimeout(PATIENCE)
    return sock


def host(sock: socket.socket, last: int = 1) -> Target:
    """The target that a socket listens on; there are many of them with IPv4."""
    text = "::1" if sock.family == socket.AF_INET6 else f"127.0.{last >> 8}.{last & 255}"
    udp = sock.type == socket.SOCK_DGRAM
    return place(text, sock.getsockname()[1], Transport.UDP if udp else Transport.TCP)


def place(text: str, port: int, transport: Transport = Transport.TCP) -> Target:
    """A target with an address in text form."""
    return Target(Address(*parse_address(text)), port, transport)


def accepted(sock: socket.socket) -> bytes:
    """Return all that the next connection brings, until its end."""
    connection, _ = sock.accept()
    with connection:
        connection.settimeout(PATIENCE)
        data = b""
        while more := connection.recv(4096):
            data += more
    return data


@contextmanager
def black_hole(family: int = socket.AF_INET) -> Iterator[socket.socket]:
    """A host whose queue of connections is full, so that its kernel drops every further SYN."""
    # A test may want the same port of another address.
    with listening(family, 0, free_port()) as sock:
        address = (LOOPBACK[socket.AddressFamily(family)], sock.getsockname()[1])
        fillers = []
        try:
            while True:
                filler = socket.socket(family)
                fillers.append(filler)
                filler.settimeout(0.1)
                try:
                    filler.connect(address)
                except TimeoutError:
                    break
            yield sock
        finally:
            for filler in fillers:
                filler.close()
