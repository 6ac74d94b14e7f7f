"""Splits a stream into lines: each ends in LF, and the last one at the end of the stream."""

from typing import Final

__all__ = ["MAX_EVENT", "MAX_LINE", "STRANGERS_MAX_EVENT", "LineDecoder", "LineTooLong"]

MAX_LINE: Final = 512
"""The greatest length of a line, in bytes without its LF."""

MAX_EVENT: Final = 16_384
"""The greatest length of a line that begins with `{`, an event of Dovecot. It says much about
the connection and the message. The longest that was seen has about 1,500 bytes."""

STRANGERS_MAX_EVENT: Final = 4096
"""The same for users who are not trusted. All places together hold so much for each."""


class LineTooLong(Exception):  # noqa: N818 - not an error of ours
    """A line exceeds its limit.

    Args:
        lines: the complete lines before it.
    """

    def __init__(self, lines: list[bytes]) -> None:
        super().__init__(lines)
        self.lines = lines


class LineDecoder:
    """Splits a stream into lines; each connection has its own.

    The lines depend on the bytes alone, never on how the bytes were split. No more than one
    line's limit is held between two calls.

    Args:
        max_event: the greatest length of a line that begins with `{`, in bytes without its LF.
    """

    __slots__ = ("_failed", "_held", "_max_event")

    def __init__(self, max_event: int = MAX_EVENT) -> None:
        self._max_event = max_event
        self._held = b""
        self._failed = False

    @property
    def is_within_line(self) -> bool:
        """Whether the beginning of a line has arrived, and not its end."""
        return self._held != b""

    def feed_untrusted(self, data: bytes) -> list[bytes]:
        """Take bytes that were read, and return the lines that are now complete.

        Args:
            data: any number of bytes, as they came.

        Returns:
            Complete lines in order, each without its LF; there may be none.

        Raises:
            LineTooLong: a line exceeds its limit, even if its LF has come. The stream is lost
                from then on: every later call raises too.
        """
        lines: list[bytes] = []
        if self._failed:
            raise LineTooLong(lines)
        if not self._held and len(data) <= MAX_LINE:  # nearly every hook writes one line at once
            *lines, self._held = data.split(b"\n")
            return lines
        *complete, rest = data.split(b"\n")
        for piece in complete:
            self._hold(piece, lines)
            lines.append(self._held)
            self._held = b""
        self._hold(rest, lines)
        return lines

    def finish(self) -> list[bytes]:
        """Return the last line, at the end of the stream; an empty list: there is none."""
        last, self._held = self._held, b""
        return [last] if last else []

    def _hold(self, piece: bytes, lines: list[bytes]) -> None:
        first = self._held or piece
        # The length is checked before the bytes are joined.
        limit = self._max_event if first.startswith(b"{") else MAX_LINE
        if len(self._held) + len(piece) > limit:
            self._failed = True
            self._held = b""
            raise LineTooLong(lines)
        self._held += piece
