"""A port that is free and stays free."""

import random
import socket

import pytest

__all__ = ["free_port"]


def free_port() -> int:
    """Return a port that no process has, on any address, for TCP and UDP.

    The kernel must not choose it: it gives its ports to every socket that connects, and
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
