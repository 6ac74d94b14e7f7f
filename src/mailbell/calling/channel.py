"""A connection to the daemon whose every wait has a deadline."""

import socket
import time
from collections.abc import Callable
from dataclasses import dataclass

from mailbell.calling.exchange import FOREVER, READ_SIZE

__all__ = ["Channel", "Timing"]


@dataclass(frozen=True, slots=True)
class Timing:
    """The clock that the client uses. A test gives a clock of its own.

    Attributes:
        monotonic: returns the time of a clock that never goes back, in seconds.
        sleep: waits for the given number of seconds.
    """

    monotonic: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep


class Channel:
    """A connected socket whose every wait has a deadline.

    Args:
        connected: the socket. `close` closes it.
        monotonic: returns the time of a clock that never goes back, in seconds.
    """

    def __init__(self, connected: socket.socket, monotonic: Callable[[], float]) -> None:
        self._socket = connected
        self._monotonic = monotonic

    def send(self, data: bytes, deadline: float) -> None:
        """Send all of the bytes.

        It is no error here if the daemon has closed the connection: `receive` returns what
        the daemon said before, and then the end.

        Args:
            data: the bytes.
            deadline: a time of this channel's clock, in seconds; `FOREVER` for none.

        Raises:
            TimeoutError: the socket did not take all of the bytes in time.
        """
        self._wait_until(deadline)
        try:
            # The caller may have given SIGPIPE its default action, which would end it.
            self._socket.sendall(data, socket.MSG_NOSIGNAL)
        except (TimeoutError, BlockingIOError):
            raise TimeoutError from None
        except OSError:  # the daemon may have said why; the caller reads that next
            return

    def receive(self, deadline: float) -> bytes:
        """Wait for bytes.

        Args:
            deadline: a time of this channel's clock, in seconds; `FOREVER` for none.

        Returns:
            The bytes that are there; empty when the connection ended for any reason.

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
        # After the deadline, the call does not wait, but it takes what is there.
        left = max(deadline - self._monotonic(), 0.0)
        self._socket.settimeout(None if deadline == FOREVER else left)
