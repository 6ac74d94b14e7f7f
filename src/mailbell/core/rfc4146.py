"""The grammar of RFC 4146 for a stream and for a datagram, without input or output.

RFC 4146, section 3: the mail server opens a connection, sends "nm_notifyuser" followed
at once by CRLF, and closes. That line has 15 bytes. So 16 bytes are enough to tell it from
everything else, and no byte after the sixteenth is kept.

The bytes decide first, the end of the connection second. As soon as the bytes can no longer
become the line, they alone decide the outcome, however slowly they came or however they ended.
`docs/protocol.md` records our decisions where the RFC says nothing.
"""

import re
from enum import StrEnum
from functools import cache
from typing import Final

from mailbell.core.outcome import End, Outcome

__all__ = [
    "LINE",
    "LINES",
    "MAX_INPUT",
    "STRICT",
    "Receiver",
    "Terminator",
    "encode",
    "parse_datagram",
]

LINE: Final = b"nm_notifyuser\r\n"
# The line and one byte more, which shows that too much came.
MAX_INPUT: Final = 16

_TOKEN: Final = LINE.removesuffix(b"\r\n")
# The token and what ends a line, if it is no line for all that.
_WRONG_ENDS: Final = (_TOKEN + b"\r", _TOKEN + b"\n")


class Terminator(StrEnum):
    """What may end the line. The RFC allows CRLF only; old senders use the others."""

    CRLF = "crlf"
    LF = "lf"
    EOF = "eof"


STRICT: Final = frozenset({Terminator.CRLF})

LINES: Final = {Terminator.CRLF: LINE, Terminator.LF: _TOKEN + b"\n", Terminator.EOF: _TOKEN}
"""The complete bytes of a notification for each end of line. The daemon and its packet filter
accept the same bytes."""

# RFC 1288, section 2.3: `[{W}|{W}{S}{U}]{C}`. {W} is "/W", {S} is blanks, {U} is a user
# and {C} is CRLF. The grammar lacks the plain `{U}{C}` that the text describes. We only count
# these queries, so any printable ASCII is a user here, "@host" included.
_FINGER_QUERY: Final = re.compile(rb"(?:/W +)?[!-~]*\r\n")
_FINGER_START: Final = re.compile(rb"(?:/W +)?[!-~]*\r?")
_NOT_LETTERS: Final = bytes(byte for byte in range(256) if not bytes([byte]).isalpha())

_WITHOUT_LINE: Final = {
    End.CLOSED: Outcome.TRUNCATED,
    End.EOF: Outcome.TRUNCATED,
    End.RESET: Outcome.RESET,
    End.DEADLINE: Outcome.DEADLINE,
}


class Receiver:
    """Collects the bytes of one connection until their outcome is known.

    Args:
        terminators: what may end the line. With `EOF`, the line may lack its end if the
            sender itself closes its side. A reset or our deadline is no end of line.
    """

    __slots__ = ("_data", "_outcome", "_terminators", "_verdict")

    def __init__(self, terminators: frozenset[Terminator] = STRICT) -> None:
        self._terminators = terminators
        self._data = b""
        self._verdict: Outcome | None = None
        self._outcome: Outcome | None = None

    @property
    def data(self) -> bytes:
        """The bytes held, at most 16, as they came. They are untrusted: escape them in a log."""
        return self._data

    @property
    def room(self) -> int:
        """How many more bytes are of interest. It is 0 only after `receive` returned True."""
        return MAX_INPUT - len(self._data)

    def receive(self, data: bytes) -> bool:
        """Take bytes that the sender sent.

        Args:
            data: any number of bytes. Those beyond `room` are dropped, because the
                sixteenth byte already shows that too much came.

        Returns:
            True when enough is known: the caller must close, then call `finish`. Bytes that
            come even so can only turn a complete line into `trailing_data`.
        """
        if self._outcome is None and (room := MAX_INPUT - len(self._data)):
            self._data += data[:room]
            self._verdict = _judge_untrusted(self._data, self._terminators)
        return self._verdict is not None

    def finish(self, end: End) -> Outcome:
        """Decide the outcome. The first call decides; later calls and bytes change nothing.

        Args:
            end: how the input ended. It matters only for bytes that can still become a
                line: a reset after the whole line loses nothing.

        Returns:
            The one outcome. It depends on the bytes and the end, not on how they were split.
        """
        if self._outcome is None:
            self._outcome = self._verdict or self._unfinished(end)
        return self._outcome

    def _unfinished(self, end: End) -> Outcome:
        if not LINE.startswith(self._data):
            return Outcome.MISMATCH  # a finger query that was never completed
        if end is End.EOF and self._data == _TOKEN and Terminator.EOF in self._terminators:
            return Outcome.ACCEPTED
        # Compared one by one: a set would be made anew, and would ask each member for its hash.
        if not self._data and (end is End.EOF or end is End.CLOSED):
            return Outcome.EMPTY
        return _WITHOUT_LINE[end]


def parse_datagram(data: bytes, terminators: frozenset[Terminator] = STRICT) -> Outcome:
    """Decide the outcome of one datagram. Accepted is one whole line and nothing else.

    Args:
        data: the payload; the first 16 bytes of a longer one are enough.
        terminators: what may end the line. The end of the datagram counts as `EOF`.

    Returns:
        The outcome. A stream with the same bytes, closed by the sender, has the same one.
    """
    receiver = Receiver(terminators)
    receiver.receive(data)
    return receiver.finish(End.EOF)


def encode() -> bytes:
    """Return the bytes that a mail server sends, on TCP and UDP alike (RFC 4146, section 3)."""
    return LINE


@cache
def _lines(terminators: frozenset[Terminator]) -> tuple[bytes, ...]:
    visible = terminators - {Terminator.EOF}
    return tuple(line for terminator, line in LINES.items() if terminator in visible)


@cache
def _beginnings(terminators: frozenset[Terminator]) -> frozenset[bytes]:
    """Return everything that can still become a line. Looked up, it costs garbage the least."""
    forms = (_TOKEN, *_lines(terminators))
    return frozenset(form[:length] for form in forms for length in range(len(form) + 1))


def _judge_untrusted(data: bytes, terminators: frozenset[Terminator]) -> Outcome | None:
    """Return the outcome of these bytes, or None while more bytes can still change it."""
    lines = _lines(terminators)
    if data in lines:
        return Outcome.ACCEPTED
    if data.startswith(lines):
        return Outcome.TRAILING_DATA
    if data in _beginnings(terminators):
        return None
    if data.startswith(_WRONG_ENDS):
        return Outcome.BAD_TERMINATOR
    return _judge_other_untrusted(data)


def _judge_other_untrusted(data: bytes) -> Outcome | None:
    """Tell a finger client from a sender whose line is wrong (port 79 is finger's port)."""
    if query := _FINGER_QUERY.match(data):
        return Outcome.MISMATCH if _resembles_token(query[0]) else Outcome.FINGER_QUERY
    if len(data) < MAX_INPUT and _FINGER_START.fullmatch(data):
        return None
    return Outcome.MISMATCH


def _resembles_token(data: bytes) -> bool:
    """Tell whether this is a sender's mistake rather than a user's name.

    Only letters count, and their case does not: some printed copies of the RFC have lost
    the underscore, and no login name contains "nmnot" by chance.
    """
    return b"nmnot" in data.translate(None, _NOT_LETTERS).lower()
