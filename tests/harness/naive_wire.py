"""One connection between a subscriber and the real local service of mailbelld, without a socket.

The kernel holds a few replies. What it holds is lost, in part or whole, if the connection breaks.
"""

from dataclasses import dataclass, field
from typing import Final

from mailbell._sys.sockets import PeerCredentials
from mailbell.interfaces.listener import LISTENER_SERVICE, Subscribe, SubscribeReply
from mailbell.listener._counters import Counters
from mailbell.listener._hub import Hub
from mailbell.listener._local_service import LocalService, _Subscription
from mailbell.logs.journal import Journal
from mailbell.varlink import (
    CALL_LIMIT,
    Decoder,
    ServiceError,
    encode_error,
    encode_reply,
    parse_call_untrusted,
)

__all__ = ["Wire", "local_service"]

# Replies in the kernel's buffer of a connection, at most. The real one holds a few hundred.
ROOM: Final = 2
CALLER: Final = PeerCredentials(pid=1, uid=1000, gid=1000)


def local_service(hub: Hub, subscribers: int) -> LocalService:
    """Return the local service of a hub."""

    def no_status() -> object:
        raise AssertionError("nobody asks")

    journal = Journal(lambda _: None, lambda: 0.0)
    return LocalService(
        hub,
        Counters(),
        journal,
        status=no_status,  # type: ignore[arg-type]  # it is never called
        stamp=lambda: 0,
        subscribers=subscribers,
    )


@dataclass
class Wire:
    """One connection.

    Attributes:
        service: the daemon at the other end; None: a program that does not answer.
        sent: what is on its way to the client, one reply each; the first may be read in part.
        source: the subscription; None: there is none yet, or the daemon refused it.
        is_closed: whether the daemon has ended it.
        is_awake: whether the daemon's task knows that there is something to send.
    """

    service: LocalService | None
    sent: list[bytes] = field(default_factory=list)
    source: _Subscription | None = None
    held: bytes | None = None
    is_closed: bool = False
    is_awake: bool = True

    def call(self, message: bytes) -> Subscribe | None:
        """Take the client's call. The first reply is made at once; return the call if accepted."""
        if self.service is None:
            return None
        (text,) = Decoder(CALL_LIMIT).feed_untrusted(message)
        request = LISTENER_SERVICE.decode_untrusted(parse_call_untrusted(text))
        assert isinstance(request, Subscribe)
        try:
            self.source = self.service._subscribe(request, CALLER, self._wake)
        except ServiceError as error:
            self.sent.append(encode_error(error))
            return None
        self.sent.append(self._encoded(self.source.next_reply()))
        return request

    def _wake(self) -> None:
        self.is_awake = True

    def _encoded(self, reply: SubscribeReply) -> bytes:
        return encode_reply(reply, continues=True)

    def pump(self) -> None:
        """Send what is new while the kernel has room; then one reply waits here."""
        while self.source is not None and self.is_awake:
            if self.held is None and not self.source.waiting:
                self.is_awake = False
                return
            if self.held is None:
                self.held = self._encoded(self.source.next_reply())
            if len(self.sent) >= ROOM:
                return
            self.sent.append(self.held)
            self.held = None

    def read(self, most: int) -> bytes:
        """Return bytes that have arrived, `most` of the first reply; empty: the end."""
        if not self.sent:
            assert self.is_closed
            return b""
        data, rest = self.sent[0][:most], self.sent[0][most:]
        self.sent[:1] = [rest] if rest else []
        return data

    @property
    def is_readable(self) -> bool:
        """Whether the client would not wait."""
        return bool(self.sent) or self.is_closed

    def end(self, kept: int | None = None) -> None:
        """End the connection at the daemon's side.

        Args:
            kept: bytes of what is on its way that still arrive; None: all.
        """
        if kept is not None:
            data = b"".join(self.sent)[:kept]
            self.sent = [data] if data else []
        if self.source is not None:
            self.source.close()
        self.source = self.held = None
        self.is_closed = True
