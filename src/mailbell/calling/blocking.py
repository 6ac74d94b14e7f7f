"""Calls a daemon and waits for the answer: what every blocking client inherits."""

from contextlib import closing
from typing import TypeVar

from mailbell.calling.channel import Channel, Timing
from mailbell.calling.connect import connect, pauses
from mailbell.calling.daemon import Daemon
from mailbell.calling.exchange import Exchange, encode_call_checked
from mailbell.calling.explain import BusyError, explain_silence
from mailbell.calling.places import Located
from mailbell.varlink import Request

__all__ = ["Caller"]

_T = TypeVar("_T")


class Caller(Located):
    """Calls one daemon. Each call has a connection of its own.

    Args:
        daemon: the daemon.
        places: the paths where its socket may be; at least one.
        timeout: how long to wait for the answer to a call, in seconds.
        timing: the clock.
        daemon_user: a user whose daemon is trusted, as for `require_trusted`.

    Attributes:
        timeout: how long to wait for the answer to a call, in seconds.
    """

    def __init__(
        self,
        daemon: Daemon,
        places: tuple[str, ...],
        *,
        timeout: float,
        timing: Timing,
        daemon_user: str | None,
    ) -> None:
        super().__init__(places)
        self._daemon = daemon
        self._daemon_user = daemon_user
        self._timing = timing
        self.timeout = timeout

    def _call(self, request: Request, kind: type[_T]) -> _T:
        message = encode_call_checked(request, self._daemon)
        deadline = self._timing.monotonic() + self.timeout
        exchange = Exchange(self._daemon)
        with closing(self._open(deadline)) as channel:
            try:
                channel.send(message, deadline)
                while not exchange.ready:
                    exchange.receive_untrusted(channel.receive(deadline))
            except TimeoutError:
                raise explain_silence(self.timeout, self._daemon) from None
        return exchange.take_untrusted(kind)[0]

    def _open(self, deadline: float) -> Channel:
        """Connect. While the daemon's queue is full, try again until the deadline."""
        pause = pauses()
        while True:
            try:
                connected, self._found = connect(self.places, self._daemon, self._daemon_user)
                return Channel(connected, self._timing.monotonic)
            except BusyError:
                seconds = next(pause)
                if self._timing.monotonic() + seconds > deadline:
                    raise
            self._timing.sleep(seconds)
