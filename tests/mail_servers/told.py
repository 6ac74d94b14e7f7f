"""A socket in the place of the sender's: it hears when a mail server tells of a mail."""

import select
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from harness.daemon import PATIENCE

__all__ = ["Told", "listening"]


class Told:
    """Reads what comes to a socket, as datagrams or on any number of connections.

    Args:
        sockets: those that listen.
        stack: closes the connections.
    """

    def __init__(self, sockets: list[socket.socket], stack: ExitStack) -> None:
        self._listening = sockets
        self._open = list(sockets)
        self._stack = stack

    def of(self, word: bytes) -> None:
        """Wait until a word comes."""
        while True:
            ready = select.select(self._open, [], [], PATIENCE)[0]
            assert ready, f"nobody said {word!r}"
            for each in ready:
                if self._heard(each, word):
                    return

    def _heard(self, sock: socket.socket, word: bytes) -> bool:
        if sock in self._listening and sock.type == socket.SOCK_STREAM:
            self._open.append(self._stack.enter_context(sock.accept()[0]))
            return False
        data = sock.recv(65536)
        if not data:
            self._open.remove(sock)
        return word in data


@contextmanager
def listening(path: Path, kind: int = socket.SOCK_STREAM) -> Iterator[Told]:
    """Listen at a path, for every user, until the end of the block.

    Args:
        path: of the socket; what a sender has left there is removed.
        kind: SOCK_STREAM or SOCK_DGRAM.
    """
    path.unlink(missing_ok=True)
    with ExitStack() as stack:
        sock = stack.enter_context(socket.socket(socket.AF_UNIX, kind))
        sock.bind(str(path))
        stack.callback(path.unlink)
        path.chmod(0o666)
        if kind == socket.SOCK_STREAM:
            sock.listen()
        yield Told([sock], stack)
