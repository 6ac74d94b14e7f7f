"""The caller's side of one connection: bytes in, replies out."""

from collections import deque
from typing import TypeVar

from mailbell.varlink._codec import REPLY_LIMIT, Decoder
from mailbell.varlink._errors import MessageTooLong, ProtocolError
from mailbell.varlink._message import Reply, decode_reply_untrusted, read_parameters_untrusted

__all__ = ["Conversation"]

_T = TypeVar("_T")


class Conversation:
    """The replies on one connection, whatever the interface."""

    def __init__(self) -> None:
        self._decoder = Decoder(REPLY_LIMIT)
        self._fault: ProtocolError | None = None
        self._replies: deque[bytes] = deque()

    def receive_untrusted(self, data: bytes) -> None:
        """Take what was read.

        Args:
            data: the bytes.
        """
        try:
            self._replies += self._decoder.feed_untrusted(data)
        except MessageTooLong as error:
            # What came before it still counts, however the bytes were cut.
            self._replies += error.messages
            self._fault = error

    @property
    def ready(self) -> bool:
        """Whether `take_untrusted` has something to give, or to raise."""
        return bool(self._replies) or self._fault is not None

    def take_untrusted(self, kind: type[_T]) -> tuple[_T, Reply]:
        """Read the next reply; only when `ready`.

        Args:
            kind: the type of its parameters.

        Returns:
            The parameters, and the reply they were in.

        Raises:
            ServiceError: it is an error reply.
            ProtocolError: it is garbage, or too long.
        """
        if not self._replies and self._fault is not None:
            raise self._fault
        reply = decode_reply_untrusted(self._replies.popleft())
        return read_parameters_untrusted(reply, kind), reply
