"""The grammar of RFC 4146 on a stream and in a datagram, without any input or output.

RFC 4146, section 3: the server opens a connection, sends "nm_notifyuser" followed at once
by CRLF, and closes. That line is 15 bytes, so 16 bytes are enough to tell it from
everything else; no byte after the sixteenth is kept.

The bytes decide first and the way they ended second: whatever can no longer
become the line is named by what it is, however slowly or abruptly it came.
`docs/protocol.md` records what we decided where the RFC is silent.
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
# The line and the one byte that would be too much.
MAX_INPUT: Final = 16

_TOKEN: Final = LINE.removesuffix(b"\r\n")


class Terminator(StrEnum):
    """What may end the line. The RFC knows CRLF; the others are for old senders."""

    CRLF = "crlf"
    LF = "lf"
    EOF = "eof"


STRICT: Final = frozenset({Terminator.CRLF})

LINES: Final = {Terminator.CRLF: LINE, Terminator.LF: _TOKEN + b"\n", Terminator.EOF: _TOKEN}
"""All there is of a notification, for each end of the line; the daemon and its packet filter
accept the same bytes."""

# RFC 1288, section 2.3: `[{W}|{W}{S}{U}]{C}`, where {W} is "/W", {S} blanks, {U} a
# user and {C} CRLF. Its grammar forgets the plain `{U}{C}` which its text describes;
# a user is printable ASCII here, "@host" included, for we only count these.
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
    """Collects the bytes of one connection until they can be named.

    Args:
        terminators: what may end the line. With `EOF`, the bare token counts when
            the peer itself closes its side: neither a reset nor our deadline is an end of line.
    """

    __slots__ = ("_data", "_outcome", "_terminators", "_verdict")

    def __init__(self, terminators: frozenset[Terminator] = STRICT) -> None:
        self._terminators = terminators
        self._data = b""
        self._verdict: Outcome | None = None
        self._outcome: Outcome | None = None

    @property
    def data(self) -> bytes:
        """The bytes held, at most 16, as they came: untrusted, escape them in a log."""
        return self._data

    @property
    def room(self) -> int:
        """How many more bytes are of interest; 0 only after `receive` returned True."""
        return MAX_INPUT - len(self._data)

    def receive(self, data: bytes) -> bool:
        """Take what the peer sent.

        Args:
            data: any number of bytes; those beyond `room` are dropped, since the
                sixteenth byte already says that too much came.

        Returns:
            True when enough is known: the caller closes, then calls `finish`. Bytes that
            are fed all the same can only turn a complete line into `trailing_data`.
        """
        if self._outcome is None and (room := MAX_INPUT - len(self._data)):
            self._data += data[:room]
            self._verdict = _judge_untrusted(self._data, self._terminators)
        return self._verdict is not None

    def finish(self, end: End) -> Outcome:
        """Name the exchange, once: later calls and later bytes change nothing.

        Args:
            end: how the input came to its end. It matters only for bytes that are still
                the beginning of a line: a reset after the whole line is no loss.

        Returns:
            The one outcome, a function of the bytes and the end, not of how they were cut.
        """
        if self._outcome is None:
            self._outcome = self._verdict or self._unfinished(end)
        return self._outcome

    def _unfinished(self, end: End) -> Outcome:
        if not LINE.startswith(self._data):
            return Outcome.MISMATCH  # a finger query that was never completed
        if end is End.EOF and self._data == _TOKEN and Terminator.EOF in self._terminators:
            return Outcome.ACCEPTED
        if not self._data and end in {End.EOF, End.CLOSED}:
            return Outcome.EMPTY
        return _WITHOUT_LINE[end]


def parse_datagram(data: bytes, terminators: frozenset[Terminator] = STRICT) -> Outcome:
    """Name one datagram: one whole line, and nothing else, is accepted.

    Args:
        data: the payload; 16 bytes of a longer one are enough.
        terminators: what may end the line; the end of the datagram is an `EOF`.

    Returns:
        Its outcome: that of a stream with the same bytes which the peer then closed.
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


def _judge_untrusted(data: bytes, terminators: frozenset[Terminator]) -> Outcome | None:
    """Return what these bytes are, or None while they can still become something."""
    lines = _lines(terminators)
    if data in lines:
        return Outcome.ACCEPTED
    if data.startswith(lines):
        return Outcome.TRAILING_DATA
    if any(line.startswith(data) for line in (_TOKEN, *lines)):
        return None
    if data.startswith((_TOKEN + b"\r", _TOKEN + b"\n")):
        return Outcome.BAD_TERMINATOR
    return _judge_stranger_untrusted(data)


def _judge_stranger_untrusted(data: bytes) -> Outcome | None:
    """Tell who looks for a finger daemon (it is finger's port) from who gets our line wrong."""
    if query := _FINGER_QUERY.match(data):
        return Outcome.MISMATCH if _resembles_token(query[0]) else Outcome.FINGER_QUERY
    if len(data) < MAX_INPUT and _FINGER_START.fullmatch(data):
        return None
    return Outcome.MISMATCH


def _resembles_token(data: bytes) -> bool:
    """Say whether this is a sender's slip rather than a user's name.

    Case, underscore and whatever else is not a letter are disregarded: printed copies of
    the RFC have lost the underscore, and no login name has "nmnot" in it by chance.
    """
    return b"nmnot" in data.translate(None, _NOT_LETTERS).lower()
