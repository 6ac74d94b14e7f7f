"""The client's side of one connection: it turns bytes into replies."""

from collections import deque
from typing import TypeVar

from mailbell.varlink._codec import REPLY_LIMIT, Decoder
from mailbell.varlink._errors import MessageTooLong, ProtocolError
from mailbell.varlink._message import Reply, decode_reply_untrusted, read_parameters_untrusted

__all__ = ["Conversation"]

_T = TypeVar("_T")


class Conversation:
    """The replies on one connection, for any interface.

    Args:
        limit: the greatest length of a reply, in bytes.
    """

    def __init__(self, limit: int = REPLY_LIMIT) -> None:
        self._decoder = Decoder(limit)
        self._fault: ProtocolError | None = None
        self._replies: deque[bytes] = deque()

    def receive_untrusted(self, data: bytes) -> None:
        """Take bytes that were read.

        Args:
            data: any number of bytes, as they came.
        """
        try:
            self._replies += self._decoder.feed_untrusted(data)
        except MessageTooLong as error:
            # The complete messages before the long one still count, however they were split.
            self._replies += error.messages
            self._fault = error

    @property
    def ready(self) -> bool:
        """Whether `take_untrusted` has a reply to return or an error to raise."""
        return bool(self._replies) or self._fault is not None

    def take_untrusted(self, kind: type[_T]) -> tuple[_T, Reply]:
        """Return the next reply. Call it only when `ready`.

        Args:
            kind: the type of the reply's parameters.

        Returns:
            The parameters, and the reply that holds them.

        Raises:
            ServiceError: the reply is an error.
            ProtocolError: the reply is invalid or too long.
        """
        if not self._replies and self._fault is not None:
            raise self._fault
        reply = decode_reply_untrusted(self._replies.popleft())
        return read_parameters_untrusted(reply, kind), reply
