"""Cuts the output of a command into lines, and bounds them for the log.

A command may print without end, and lines without end. This holds only the beginning of
one line in memory. It passes on a bounded part of the output, and counts the rest.
"""

from collections.abc import Callable
from typing import Final

__all__ = ["MAX_LINE", "MAX_LINES", "MAX_OUTPUT", "Lines"]

MAX_LINE: Final = 1_000  # bytes of one line
MAX_OUTPUT: Final = 65_536  # bytes of one run, with the ends of lines
# Lines of one run. Each line has a cost in the log, and 65,536 bytes may be empty lines.
MAX_LINES: Final = 1_000


class Lines:
    """Cuts a stream into lines.

    Every byte is passed to `tell`, or ends a line that was passed, or is counted in
    `dropped`.

    Args:
        tell: called with each line, without its end.

    Attributes:
        dropped: the number of bytes that were not passed to `tell`.
    """

    def __init__(self, tell: Callable[[bytes], None]) -> None:
        self._tell = tell
        self._held = bytearray()  # the beginning of the line that has not ended
        self._room = MAX_OUTPUT
        self._lines = MAX_LINES
        self.dropped = 0

    def feed(self, data: bytes) -> None:
        """Take the next piece of output.

        Args:
            data: any bytes.
        """
        if self._is_full():  # count them without a look: gigabytes may follow
            self.dropped += len(data)
            return
        *ended, rest = data.split(b"\n")
        for piece in ended:
            self._add(piece)
            self._end_line()
        self._add(rest)

    def finish(self) -> None:
        """Pass on the last line, if it has no end."""
        if self._held:
            self._end_line()

    def _is_full(self) -> bool:
        return self._room <= 0 or not self._lines

    def _add(self, piece: bytes) -> None:
        longest = 0 if self._is_full() else min(MAX_LINE, self._room)
        kept = piece[: longest - len(self._held)]
        self._held += kept
        self.dropped += len(piece) - len(kept)

    def _end_line(self) -> None:
        if self._is_full():
            self.dropped += 1
            return
        self._room -= len(self._held) + 1
        self._lines -= 1
        line = bytes(self._held)
        self._held.clear()
        self._tell(line)
