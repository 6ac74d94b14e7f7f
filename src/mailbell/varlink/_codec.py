"""Splits a Varlink byte stream into messages.

varlink.org/Method-Call: "messages are encoded as JSON objects and terminated
with a single NUL byte".
"""

from mailbell.varlink._errors import MessageTooLong

__all__ = ["CALL_LIMIT", "REPLY_LIMIT", "Decoder"]

CALL_LIMIT = 4096
"""The greatest length of a call, in bytes. It is enough for a call that names 58 accounts."""

REPLY_LIMIT = 1 << 20
"""The greatest length of a reply that a client accepts, in bytes. The longest reply is a status.
An account with the longest name takes about 120 bytes of it, so 8,000 accounts fit."""


class Decoder:
    """Splits a stream into messages; each connection and direction has its own.

    The messages depend on the bytes alone, never on how the bytes were split. No more
    than `limit` bytes are held between two calls.

    Args:
        limit: the greatest length of a message in bytes, without its NUL.
    """

    __slots__ = ("_failed", "_held", "limit")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._held = bytearray()
        self._failed = False

    def feed_untrusted(self, data: bytes) -> list[bytes]:
        """Take bytes that were read, and return the messages that are now complete.

        Args:
            data: any number of bytes, as they came.

        Returns:
            Complete messages in order, each without its NUL; there may be none.

        Raises:
            MessageTooLong: a message exceeds the limit, even if its NUL has come. Its
                `messages` are those before the long one. The stream is lost from then
                on: every later call raises too.
        """
        if self._failed:
            raise MessageTooLong(self.limit)
        messages: list[bytes] = []
        *complete, rest = data.split(b"\0")
        for piece in complete:
            self._hold(piece, messages)
            messages.append(bytes(self._held))
            self._held.clear()
        self._hold(rest, messages)
        return messages

    def _hold(self, piece: bytes, messages: list[bytes]) -> None:
        # The length is checked before the bytes are kept. A check afterwards would
        # limit nothing.
        if len(self._held) + len(piece) > self.limit:
            self._failed = True
            self._held.clear()
            raise MessageTooLong(self.limit, tuple(messages))
        self._held += piece
