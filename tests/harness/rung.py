"""What stands around a sender that is killed: machines that are rung, and a held socket."""

import os
import pwd
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from harness.daemon import PATIENCE

__all__ = ["Rung", "hook_socket", "user_name"]

LINE: Final = b"nm_notifyuser\r\n"


class Rung:
    """Machines of users: one address of loopback an account. Notes when each was last rung."""

    def __init__(self) -> None:
        self.last: dict[str, float] = {}
        self.count: Counter[str] = Counter()
        self._sock = socket.create_server(("0.0.0.0", 0), backlog=4096)
        self.port = self._sock.getsockname()[1]
        self._thread = threading.Thread(target=self._serve)

    def __enter__(self) -> "Rung":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._sock.shutdown(socket.SHUT_RDWR)
        self._thread.join(PATIENCE)
        self._sock.close()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._sock.accept()
            except OSError:
                return
            with connection:
                connection.settimeout(PATIENCE)
                try:
                    line = connection.recv(64)
                except OSError:  # the sender was killed between connect and send
                    continue
                if line == LINE:
                    address = connection.getsockname()[0]
                    self.count[address] += 1
                    self.last[address] = time.monotonic()


@contextmanager
def hook_socket(directory: Path) -> Iterator[socket.socket]:
    """Hold the socket of the hooks, as a service manager does."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(directory / "hook"))
        os.chmod(directory / "hook", 0o666)
        sock.listen(4096)
        yield sock


def user_name(uid: int) -> str:
    """Return the name of a user."""
    return pwd.getpwuid(uid).pw_name
