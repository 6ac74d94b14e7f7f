"""Users who speak on a Unix socket: `python speakers.py SOCKET HEX USER COUNT HELD`.

It becomes the user with the number USER and connects COUNT times. Each time it says the bytes HEX.
HELD connections stay open; before one more is made, the oldest is closed. With 0 each is read to
its end, or to the end of an answer (NUL), and closed then.
"""

import os
import socket
import struct
import subprocess
import sys
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

__all__ = ["Speaker"]

_PATIENCE: Final = 60  # seconds
# The group of the user nobody, whom the benchmarks let the daemons run as.
_GROUP: Final = 65534


@dataclass(frozen=True, slots=True)
class Speaker:
    """What one user says.

    Attributes:
        count: how often it connects.
        says: what it says each time.
        user: its number; only root can become another user.
        held: how many connections it holds; 0: it reads an answer on each, and holds none.
    """

    count: int
    says: bytes
    user: int = 0
    held: int = 1

    def run(self, path: str, core: int | None = None) -> None:
        """Speak.

        Args:
            path: of the socket.
            core: CPU to run on; None: any.

        Raises:
            CalledProcessError: the socket took a connection too late, or not at all.
        """
        elsewhere = [] if core is None else ["taskset", "-c", str(core)]
        numbers = map(str, (self.user, self.count, self.held))
        words = [str(Path(__file__).resolve()), path, self.says.hex(), *numbers]
        subprocess.run([*elsewhere, sys.executable, "-I", *words], check=True)


def _main(path: str, says: bytes, user: int, count: int, held: int) -> None:
    if user != os.geteuid():
        os.setgroups([])
        os.setgid(_GROUP)
        os.setuid(user)
    live: deque[socket.socket] = deque()
    for _ in range(count):
        sock = socket.socket(socket.AF_UNIX)
        for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
            # A socket of Python's with a time-out does not wait for room in the queue.
            sock.setsockopt(socket.SOL_SOCKET, option, struct.pack("ll", _PATIENCE, 0))
        sock.connect(path)
        with suppress(BrokenPipeError, ConnectionResetError):  # the daemon may close at any time
            sock.sendall(says)
            while not held and (got := sock.recv(4096)) and not got.endswith(b"\0"):
                pass
        live.append(sock)
        while len(live) > held:
            live.popleft().close()
    for sock in live:
        sock.close()


if __name__ == "__main__":
    _main(sys.argv[1], bytes.fromhex(sys.argv[2]), *map(int, sys.argv[3:]))
