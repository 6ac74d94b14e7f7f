"""Where one message ends: framing of a Varlink byte stream.

varlink.org/Method-Call: "messages are encoded as JSON objects and terminated
with a single NUL byte".
"""

from mailbell.varlink._errors import MessageTooLong

__all__ = ["CALL_LIMIT", "REPLY_LIMIT", "Decoder"]

CALL_LIMIT = 4096
"""Most bytes of one call. The longest sensible one names 60 accounts."""

REPLY_LIMIT = 1 << 20
"""Most bytes of one reply that the client takes. A status is far the longest: an account
with the longest name takes about 120 bytes of it, so 8,000 of them fit."""


class Decoder:
    """Cuts a stream into messages; one per connection and direction.

    The messages depend on the bytes alone, never on how they were cut into
    pieces. No more than `limit` bytes are held between two calls.

    Args:
        limit: most bytes a message may have, its NUL not counted.
    """

    __slots__ = ("_failed", "_held", "limit")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._held = bytearray()
        self._failed = False

    def feed_untrusted(self, data: bytes) -> list[bytes]:
        """Take what was read and give back the messages it completes.

        Args:
            data: any number of bytes, as they came.

        Returns:
            Complete messages in order, each without its NUL; possibly empty.

        Raises:
            MessageTooLong: a message exceeds the limit, whether its NUL has come
                or not; its `messages` holds those before it. The stream is lost
                from then on: every later call raises too.
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
        # The length is looked at before the bytes are kept: a limit that is
        # checked afterwards bounds nothing.
        if len(self._held) + len(piece) > self.limit:
            self._failed = True
            self._held.clear()
            raise MessageTooLong(self.limit, tuple(messages))
        self._held += piece
