"""A port that is free, and stays so."""

import random
import socket

import pytest

__all__ = ["free_port"]


def free_port() -> int:
    """Return a port that nobody has, on any address, for TCP and UDP.

    Not one of the kernel's choice: the kernel gives those to whoever connects, and
    other tests run at the same time. Below 32768 it gives none (ip_local_port_range).
    """
    for _ in range(100):
        port = random.SystemRandom().randrange(10_000, 32_768)
        with socket.socket() as stream, socket.socket(type=socket.SOCK_DGRAM) as datagram:
            try:
                stream.bind(("0.0.0.0", port))
                datagram.bind(("0.0.0.0", port))
            except OSError:
                continue
            return port
    pytest.fail("a hundred ports are taken")
