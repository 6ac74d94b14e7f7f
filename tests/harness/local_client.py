"""A Varlink client for Trio of a few lines, which uses nothing of mailbell."""

import json
import socket
from pathlib import Path
from typing import Any

import trio

__all__ = ["Client"]


class Client:
    """One connection to a local socket."""

    def __init__(self, path: Path) -> None:
        self.socket = trio.socket.socket(socket.AF_UNIX)
        self.path = path
        self.buffer = b""

    async def connect(self) -> "Client":
        await self.socket.connect(str(self.path))
        return self

    async def send(self, *calls: object) -> None:
        data = b"".join(
            call if isinstance(call, bytes) else json.dumps(call).encode() + b"\0" for call in calls
        )
        while data:
            data = data[await self.socket.send(data) :]

    async def reply(self) -> Any:
        """Return the next reply; None: the service has hung up."""
        while b"\0" not in self.buffer:
            try:
                chunk = await self.socket.recv(65536)
            except OSError:
                return None
            if not chunk:
                return None
            self.buffer += chunk
        message, _, self.buffer = self.buffer.partition(b"\0")
        return json.loads(message)

    async def ask(self, call: object) -> Any:
        try:
            await self.send(call)
        except BrokenPipeError:
            return None
        return await self.reply()
