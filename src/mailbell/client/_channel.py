"""A connection to the daemon whose every wait has a deadline."""

import socket
import time
from collections.abc import Callable
from dataclasses import dataclass

from mailbell.client._conversation import FOREVER, READ_SIZE
from mailbell.client._explain import gone

__all__ = ["Channel", "Timing"]


@dataclass(frozen=True, slots=True)
class Timing:
    """Where the time comes from; a test brings its own.

    Attributes:
        monotonic: a clock that never goes back, in seconds.
        sleep: waits so many seconds.
    """

    monotonic: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep


class Channel:
    """A connected socket whose every wait has a deadline.

    Args:
        connected: the socket; this closes it.
        monotonic: a clock that never goes back, in seconds.
    """

    def __init__(self, connected: socket.socket, monotonic: Callable[[], float]) -> None:
        self._socket = connected
        self._monotonic = monotonic

    def send(self, data: bytes, deadline: float) -> None:
        """Send all of it.

        Args:
            data: the bytes.
            deadline: on the clock of this channel; `FOREVER` for none.

        Raises:
            TimeoutError: not all of it was taken in time.
            UnavailableError: the daemon is gone.
        """
        self._wait_until(deadline)
        try:
            # A caller that gave SIGPIPE its default action must not die of us.
            self._socket.sendall(data, socket.MSG_NOSIGNAL)
        except (TimeoutError, BlockingIOError):
            raise TimeoutError from None
        except OSError:
            raise gone() from None

    def receive(self, deadline: float) -> bytes:
        """Wait for bytes.

        Args:
            deadline: on the clock of this channel; `FOREVER` for none.

        Returns:
            What is there; empty at the end of the stream, however it came about.

        Raises:
            TimeoutError: nothing came in time.
        """
        self._wait_until(deadline)
        try:
            return self._socket.recv(READ_SIZE)
        except (TimeoutError, BlockingIOError):
            raise TimeoutError from None
        except OSError:
            return b""

    def close(self) -> None:
        """Close the socket. Closing it again does nothing."""
        self._socket.close()

    def _wait_until(self, deadline: float) -> None:
        # A deadline that has passed means: do not wait, but take what is there.
        left = max(deadline - self._monotonic(), 0.0)
        self._socket.settimeout(None if deadline == FOREVER else left)
