"""A POP3 server that refuses logins that come too soon after another one: RFC 2449, 6.5.

Dovecot has no LOGIN-DELAY. So this stands before Dovecot, passes on what both say, and refuses a
PASS itself. It serves one client after another, and ends with the test.
"""

import select
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Final

from harness.mailserver import HOST
from harness.sender import PATIENCE

__all__ = ["EarlyLogins", "early_logins"]

_MOST: Final = 64 * 1024  # bytes of a line of the client
_LOGINS_BY_OTHER_COMMANDS: Final = (b"AUTH", b"APOP")


@dataclass
class EarlyLogins:
    """The server, and what it has seen.

    Attributes:
        port: on `HOST`.
        delay: seconds from one login to the next that is accepted.
        refused: the response codes of the logins that it refused (RFC 2449, 8).
        logins: how many logins it accepted.
        used: whether another client is in the mailbox, as far as this server says.
    """

    port: int
    delay: int
    refused: list[str] = field(default_factory=list)
    logins: int = 0
    used: bool = False
    last: float | None = None

    def refusal(self) -> str | None:
        """Return the response code with which a login is refused now; None: it is accepted."""
        if self.used:
            return "IN-USE"
        early = self.last is not None and time.monotonic() < self.last + self.delay
        return "LOGIN-DELAY" if early else None


@contextmanager
def early_logins(behind: int, delay: int) -> Iterator[EarlyLogins]:
    """Run the server until the end of the block.

    Args:
        behind: the port of Dovecot on `HOST`.
        delay: seconds from one login to the next.
    """
    stop = threading.Event()
    with socket.create_server((HOST, 0)) as listening:
        listening.settimeout(0.2)
        server = EarlyLogins(listening.getsockname()[1], delay)
        thread = threading.Thread(target=_serve, args=(listening, behind, server, stop))
        thread.start()
        try:
            yield server
        finally:
            stop.set()
            thread.join(PATIENCE)
            assert not thread.is_alive()


def _serve(
    listening: socket.socket, behind: int, server: EarlyLogins, stop: threading.Event
) -> None:
    while not stop.is_set():
        try:
            client, _ = listening.accept()
        except TimeoutError:
            continue
        with client, socket.create_connection((HOST, behind), PATIENCE) as dovecot:
            client.settimeout(PATIENCE)
            with suppress(ConnectionError):
                _Session(client, dovecot, server).run(stop)


class _Session:
    """One client."""

    def __init__(self, client: socket.socket, dovecot: socket.socket, server: EarlyLogins) -> None:
        self._client = client
        self._dovecot = dovecot
        self._server = server
        self._asked = b"greeting"  # the command that Dovecot has not answered yet
        self._line = b""

    def run(self, stop: threading.Event) -> None:
        """Pass on what both say, until one of them closes."""
        while not stop.is_set():
            ready = select.select([self._client, self._dovecot], [], [], 0.2)[0]
            for sock in ready:
                data = sock.recv(65536)
                if not data or not (
                    self._answers(data) if sock is self._dovecot else self._asks(data)
                ):
                    return

    def _answers(self, data: bytes) -> bool:
        if data.startswith(b"+OK"):
            if self._asked == b"PASS":
                self._server.last = time.monotonic()
                self._server.logins += 1
            if self._asked == b"CAPA":
                first, end, rest = data.partition(b"\r\n")
                data = first + end + b"LOGIN-DELAY %d\r\n" % self._server.delay + rest
        self._asked = b""
        self._client.sendall(data)
        return True

    def _asks(self, data: bytes) -> bool:
        self._line += data
        assert len(self._line) < _MOST
        while b"\n" in self._line:
            line, _, self._line = self._line.partition(b"\n")
            self._asked = line[:4].upper()
            if self._asked in _LOGINS_BY_OTHER_COMMANDS:
                self._client.sendall(b"-ERR not here\r\n")
                continue
            refusal = self._server.refusal() if self._asked == b"PASS" else None
            if refusal is not None:
                self._server.refused.append(refusal)
                self._client.sendall(f"-ERR [{refusal}] not now\r\n".encode())
                return False
            self._dovecot.sendall(line + b"\n")
        return True
