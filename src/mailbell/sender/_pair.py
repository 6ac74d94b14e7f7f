"""Messages on the pair of sockets that the sender and a companion share.

Each message is a packet. The kernel may lack memory for one for a while; only the end of the other
process ends the talk.
"""

import errno
import socket
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Final, Generic, TypeVar

import trio

from mailbell.serving.intake import PAUSE, until_readable

__all__ = ["Unsent", "receive", "says_the_end", "until_sendable"]

Message = TypeVar("Message")

_BATCH: Final = 64  # messages that are read before other tasks run
# unix(7): the other end is closed.
_ENDS: Final = frozenset({errno.EPIPE, errno.ECONNRESET, errno.ECONNREFUSED, errno.ENOTCONN})


def says_the_end(error: OSError) -> bool:
    """Tell whether an error on the pair means that the process at its other end has ended.

    After any other error the pair still works: the machine lacks something, for a while.

    Args:
        error: of a call that sends or receives.
    """
    return error.errno in _ENDS


class Unsent(Generic[Message]):
    """Messages that wait until they are sent, in their order.

    Args:
        encode: returns a message as it is sent.
    """

    def __init__(self, encode: Callable[[Message], bytes]) -> None:
        self._encode = encode
        self._messages: deque[Message] = deque()
        self._has_some = trio.Event()

    def __len__(self) -> int:
        return len(self._messages)

    def __iter__(self) -> Iterator[Message]:
        return iter(self._messages)

    def add(self, *messages: Message) -> None:
        """Add messages at the end."""
        self._messages.extend(messages)
        if self._messages:
            self._has_some.set()

    def keep(self, wanted: Callable[[Message], bool]) -> None:
        """Forget the messages that are not wanted any more."""
        self._messages = deque(filter(wanted, self._messages))

    async def send(self, pair: socket.socket) -> None:
        """Send messages, until it is cancelled.

        That the other end has ended is for who reads to say: so one refusal silences nobody.

        Args:
            pair: a non-blocking socket.
        """
        while True:
            await self._has_some.wait()
            while self._messages:
                try:
                    pair.send(self._encode(self._messages[0]))
                except OSError as error:
                    await until_sendable(pair, error)
                else:
                    self._messages.popleft()
            self._has_some = trio.Event()


async def until_sendable(pair: socket.socket, refusal: OSError) -> None:
    """Wait until a message that was refused may be sent once more.

    Args:
        pair: a non-blocking socket.
        refusal: with which the message was refused.
    """
    if isinstance(refusal, BlockingIOError):
        with suppress(OSError):  # epoll_ctl(2): it cannot be watched now
            await trio.lowlevel.wait_writable(pair)
            return
    await trio.sleep(PAUSE)


async def receive(pair: socket.socket, size: int) -> list[bytes]:
    """Wait for messages, and read those that are there, up to a bound.

    Args:
        pair: a non-blocking socket.
        size: the longest message, in bytes.

    Returns:
        The messages. An empty list: the other end has ended.
    """
    ends = 0
    while ends < 2:  # it may have ended with words unread: after that its own last ones can be read
        await until_readable(pair)
        found, error = _read(pair, size)
        if found or error is None:
            return found
        if says_the_end(error):
            ends += 1
        elif not isinstance(error, BlockingIOError):
            await trio.sleep(PAUSE)
    return []


def _read(pair: socket.socket, size: int) -> tuple[list[bytes], OSError | None]:
    """Read what is there; return it, and the error that ended that."""
    found: list[bytes] = []
    try:
        while len(found) < _BATCH and (data := pair.recv(size)):
            found.append(data)
    except OSError as error:
        return found, error
    return found, None
