"""A descriptor whose last close takes long, and whether this kernel lets a socket refuse one."""

import socket
import struct
from collections.abc import Callable

import pytest

__all__ = ["lingering", "needs_refusal", "pass_to"]

SO_PASSRIGHTS = 83
SECONDS = 8


def kernel_can_refuse_descriptors() -> bool:
    """Return whether the kernel has SO_PASSRIGHTS."""
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.setsockopt(socket.SOL_SOCKET, SO_PASSRIGHTS, 0)
        except OSError:
            return False
        return True


needs_refusal: Callable[..., pytest.MarkDecorator] = pytest.mark.skipif(
    not kernel_can_refuse_descriptors(),
    reason="SO_PASSRIGHTS needs Linux 6.16: SECURITY.md says so",
)


def lingering() -> socket.socket:
    """Make a descriptor whose last close takes as long as its owner wants: here eight seconds."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        sock = socket.create_connection(listening.getsockname())
        peer, _ = listening.accept()
    peer.detach()  # it never reads; the kernel closes it when the process ends
    sock.setblocking(False)
    with pytest.raises(BlockingIOError):  # noqa: PT012 - until the peer's receive window is full
        while True:
            sock.send(b"x" * 65536)
    sock.setblocking(True)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, SECONDS))
    return sock


def pass_to(peer: socket.socket) -> bool:
    """Pass such a descriptor to a peer that will read or close.

    Args:
        peer: a connected Unix socket.

    Returns:
        Whether the kernel has taken it. If it has not, nothing lingers here either.
    """
    slow = lingering()
    try:
        socket.send_fds(peer, [b" "], [slow.fileno()])
    except PermissionError:
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        return False
    finally:
        slow.close()
    return True
