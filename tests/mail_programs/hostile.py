"""Local sockets of programs that are not mailbelld, or that mean harm to who connects."""

import os
import select
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count, pairwise
from pathlib import Path
from time import monotonic
from types import TracebackType
from typing import Final, Self

from harness.fake_daemon import notification, told
from harness.sender import PATIENCE

from mailbell.varlink import encode_reply

__all__ = [
    "HUGE", "Hostile", "answers_and_hangs_up", "garbage", "hangs_up", "huge", "never_answers",
    "never_ends", "never_ends_the_second", "rings_for_ever",
]  # fmt: skip

HUGE: Final = 100 * 1024 * 1024
"""Bytes of the answer of `huge`."""

_PIECE: Final = 1 << 16  # bytes written at a time
_TRICKLE: Final = 0.05  # seconds between two bytes of a slow answer
_FIRST: Final = encode_reply(told("e1", 0), continues=True)


@dataclass
class Caller:
    """One connection to a hostile program.

    Attributes:
        connection: to who called.
        since: when it was accepted, on the monotonic clock.
        sent: how many bytes the kernel has taken for the caller.
    """

    connection: socket.socket
    since: float
    sent: int = 0

    def send(self, data: bytes) -> None:
        """Send bytes.

        Raises:
            OSError: the caller has hung up.
        """
        self.connection.sendall(data)
        self.sent += len(data)

    def has_left(self, seconds: float | None = None) -> bool:
        """Wait so long for the caller to hang up, and say whether it has.

        Raises:
            OSError: it has, with bytes unread.
        """
        while select.select([self.connection], [], [], seconds)[0]:
            if not self.connection.recv(_PIECE):
                return True
        return False


Act = Callable[[Caller], None]


@dataclass
class Hostile:
    """A program that does the same to each caller, until the end of the block.

    Attributes:
        path: of its socket, which everybody may use.
        act: what it does; then it hangs up.
        callers: all that have called.
    """

    path: Path
    act: Act
    callers: list[Caller] = field(default_factory=list)

    def __enter__(self) -> Self:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.bind(str(self.path))
        self.path.chmod(0o666)
        self._socket.listen(64)
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._threads[0].join(PATIENCE)
        for caller in self.callers:
            with suppress(OSError):
                caller.connection.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(PATIENCE)
            assert not thread.is_alive()
        self._socket.close()

    def pauses(self) -> list[float]:
        """The seconds between two calls."""
        times = [caller.since for caller in self.callers]
        return [late - early for early, late in pairwise(times)]

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:  # the end of the block
                return
            caller = Caller(connection, monotonic())
            self.callers.append(caller)
            thread = threading.Thread(target=self._play, args=[caller])
            self._threads.append(thread)
            thread.start()

    def _play(self, caller: Caller) -> None:
        with caller.connection, suppress(OSError):
            self.act(caller)


def huge(caller: Caller) -> None:
    """Answer 100 MB, which would be a reply."""
    caller.send(b'{"parameters":{"notification":{"account":"')
    for _ in range(HUGE // _PIECE):
        caller.send(b"a" * _PIECE)
    caller.send(b'"}}}\0')
    caller.has_left()


def never_ends(caller: Caller) -> None:
    """Begin an answer, and add a byte now and then."""
    caller.send(b'{"parameters":{"notification":')
    while not caller.has_left(_TRICKLE):
        caller.send(b" ")


def never_ends_the_second(caller: Caller) -> None:
    """Answer as mailbelld, and never end the next reply."""
    caller.send(_FIRST)
    never_ends(caller)


def never_answers(caller: Caller) -> None:
    """Take the call, and say nothing."""
    caller.has_left()


def garbage(caller: Caller) -> None:
    """Answer bytes at random, with many ends of replies among them."""
    while True:
        caller.send(os.urandom(_PIECE))


def hangs_up(caller: Caller) -> None:
    """Hang up at once."""


def answers_and_hangs_up(caller: Caller) -> None:
    """Answer as mailbelld, and hang up."""
    caller.send(_FIRST)


def rings_for_ever(caller: Caller) -> None:
    """Ring as fast as the caller reads, for another account each time."""
    caller.send(_FIRST)
    for number in count():
        what = notification(f"{number:064}")
        caller.send(encode_reply(told("e1", number + 1, what), continues=True))
