"""A socket whose first calls the kernel refuses."""

import os
import socket
from typing import Any

__all__ = ["Refusing"]


class Refusing:
    """A socket: the first calls of one kind fail.

    Args:
        sock: the socket.
        call: the method.
        number: the error.
        times: how many fail.
    """

    def __init__(self, sock: socket.socket, call: str, number: int, times: int = 2) -> None:
        self._sock = sock
        self._call = call
        self._number = number
        self.refusals = times

    def __getattr__(self, name: str) -> Any:
        if name == self._call and self.refusals:
            self.refusals -= 1
            raise OSError(self._number, os.strerror(self._number))
        return getattr(self._sock, name)
