"""A port that is free and stays free."""

import random
import socket

__all__ = ["free_port"]


def free_port() -> int:
    """Return a port that no process has, on any address of either family, for TCP and UDP.

    The kernel must not choose it: it gives its ports to every socket that connects, and
    other tests run at the same time. Below 32768 it gives none (ip_local_port_range).
    """
    for _ in range(100):
        port = random.SystemRandom().randrange(10_000, 32_768)
        if all(map(_is_free, _everywhere(port))):
            return port
    raise OSError("a hundred ports are taken")


Bound = tuple[socket.AddressFamily, socket.SocketKind, tuple[str, int]]


def _everywhere(port: int) -> list[Bound]:
    kinds = (socket.SOCK_STREAM, socket.SOCK_DGRAM)
    families = {socket.AF_INET: "0.0.0.0"}
    if socket.has_dualstack_ipv6():
        families[socket.AF_INET6] = "::"
    return [(family, kind, (host, port)) for family, host in families.items() for kind in kinds]


def _is_free(bound: Bound) -> bool:
    family, kind, place = bound
    with socket.socket(family, kind) as sock:
        if family is socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        try:
            sock.bind(place)
        except OSError:
            return False
    return True
