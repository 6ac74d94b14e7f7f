"""A subscriber of mailbelld that remembers what it was told, and comes back with its cursor."""

import json
import socket
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

__all__ = ["Follower", "ask", "call"]

_LISTENER: Final = "org.mailbell.Listener."
_SHORT: Final = 0.5  # seconds until an answer counts as refused; the next look asks again
_CHUNK: Final = 65_536


def call(path: Path, message: dict[str, Any]) -> socket.socket:
    """Connect to a local socket and make a call; return the connection.

    Args:
        path: of the socket.
        message: the call, of Varlink.

    Raises:
        OSError: nothing takes it.
    """
    sock = socket.socket(socket.AF_UNIX)
    try:
        sock.settimeout(_SHORT)
        sock.connect(str(path))
        sock.sendall(json.dumps(message).encode() + b"\0")
    except OSError:
        sock.close()
        raise
    return sock


def ask(path: Path, method: str, **parameters: object) -> dict[str, Any] | None:
    """Make one call; return its reply, or None: there was none, or an error.

    Args:
        path: of the socket.
        method: its whole name.
        parameters: of the method.
    """
    held = b""
    with suppress(OSError), call(path, {"method": method, "parameters": parameters}) as sock:
        while not held.endswith(b"\0"):
            chunk = sock.recv(_CHUNK)
            if not chunk:
                return None
            held += chunk
        reply = json.loads(held[:-1])
        found: dict[str, Any] | None = None if "error" in reply else reply["parameters"]
        return found
    return None


class Follower:
    """One subscriber to all accounts.

    Args:
        path: the local socket of the daemon.

    Attributes:
        told: how many notifications it was told of.
        resyncs: how often it was told to look once.
        transports: by which of them it was told, since they were last cleared.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._sock: socket.socket | None = None
        self._held = b""
        self._cursor: dict[str, Any] | None = None
        self.told = 0
        self.resyncs = 0
        self.transports: set[str] = set()

    @property
    def place(self) -> tuple[str, int]:
        """The run of the daemon that it was told of last, and how often it was told to look."""
        return ("" if self._cursor is None else str(self._cursor["epoch"])), self.resyncs

    def leave(self) -> None:
        """Hang up, and remember the place."""
        if self._sock is not None:
            self._sock.close()
            self._sock = None
        self._held = b""

    def look(self) -> None:
        """Take all that has come. Without a connection make one, and show the cursor."""
        try:
            if self._sock is None:
                self._connect()
            while self._sock is not None:
                chunk = self._sock.recv(_CHUNK)
                if chunk:
                    self._take(chunk)
                else:
                    self.leave()
        except BlockingIOError:
            return
        except OSError:
            self.leave()

    def is_there(self) -> bool:
        """Take all that has come, and come back if need be; tell whether it is subscribed."""
        self.look()
        return self._sock is not None

    def _connect(self) -> None:
        parameters = {} if self._cursor is None else {"after": self._cursor}
        message = {"method": _LISTENER + "Subscribe", "parameters": parameters, "more": True}
        sock = call(self._path, message)
        try:
            first = sock.recv(_CHUNK)
            if not first or b'"error"' in first:
                raise ConnectionError("no subscription")
        except OSError:
            sock.close()
            raise
        sock.setblocking(False)
        self._sock = sock
        self._take(first)

    def _take(self, data: bytes) -> None:
        *messages, self._held = (self._held + data).split(b"\0")
        for message in messages:
            reply = json.loads(message)["parameters"]
            self._cursor = reply["cursor"]
            told = reply.get("notification")
            if told is not None and told["cause"] == "resync":
                self.resyncs += 1
            elif told is not None:
                self.told += told["count"]
                self.transports.add(told["transport"] or told["cause"])
