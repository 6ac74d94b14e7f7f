"""What mailbelld must make of bytes, twice: by its own pure grammar, and by a regular expression.

The grammar is that of `mailbell.core.rfc4146`. The regular expression was written from
docs/protocol.md alone, and shares no code with it.
"""

import re
from collections.abc import Collection
from typing import Final

from mailbell.core.outcome import End, Outcome
from mailbell.core.rfc4146 import Receiver, Terminator, parse_datagram
from torture.inputs.channel import Verdict
from torture.inputs.speaking import Ends, Input

__all__ = ["ByGrammar", "ByPattern"]

DROPPED: Final = "kernel_dropped"
_ENDS: Final = {Ends.FINISHES: End.EOF, Ends.LEAVES: End.RESET, Ends.STAYS: End.DEADLINE}
_SEEN: Final = 16  # bytes of a connection that matter


class ByGrammar:
    """The pure grammar of the daemon.

    Args:
        terminators: what may end the line.
    """

    def __init__(self, terminators: Collection[str]) -> None:
        self._terminators = frozenset(map(Terminator, terminators))

    def stream(self, said: Input) -> Verdict:
        """Return what a connection counts as.

        Args:
            said: all of it.
        """
        if not said.pieces and said.ends is Ends.LEAVES:
            return ()  # the kernel drops it before it becomes a connection
        whole = self._outcome(said.data, said.ends)
        if whole is not Outcome.TRAILING_DATA:
            return (whole.value,)
        # A line that is complete counts at once. What follows in another piece may be too late.
        held = b""
        for piece in said.pieces[:-1]:
            held += piece
            if self._outcome(held, Ends.STAYS) is Outcome.ACCEPTED:
                return (Outcome.ACCEPTED.value, whole.value)
        return (whole.value,)

    def is_decided(self, data: bytes) -> bool:
        """Tell whether bytes alone decide, so that the daemon closes without waiting.

        Args:
            data: what a connection has sent.
        """
        return Receiver(self._terminators).receive(data)

    def datagram(self, data: bytes) -> Verdict:
        """Return what a datagram counts as. The kernel's filter passes whole lines only.

        Args:
            data: its bytes.
        """
        outcome = parse_datagram(data, self._terminators)
        return (outcome.value if outcome is Outcome.ACCEPTED else DROPPED,)

    def _outcome(self, data: bytes, ends: Ends) -> Outcome:
        receiver = Receiver(self._terminators)
        receiver.receive(data)
        return receiver.finish(_ENDS[ends])


def _beginnings(word: bytes) -> bytes:
    """Return a pattern of all that a word can begin with, itself and nothing included."""
    pattern = b""
    for byte in reversed(word):
        pattern = b"(?:" + re.escape(bytes([byte])) + pattern + b")?"
    return pattern


class ByPattern:
    """One regular expression, whose groups are the outcomes.

    Args:
        terminators: what may end the line.
    """

    def __init__(self, terminators: Collection[str]) -> None:
        ends = [end for name, end in (("crlf", rb"\r\n"), ("lf", rb"\n")) if name in terminators]
        eof = "eof" in terminators
        line = rb"nm_notifyuser(?:" + rb"|".join(ends) + rb")" if ends else rb"(?!)"
        start = rb"nm_notifyuser" + (rb"\r?" if "crlf" in terminators else rb"")
        self._stream = re.compile(
            rb"(?P<accepted>" + line + rb"\Z)|(?P<trailing_data>" + line + rb".)|"
            rb"(?P<empty>\Z)|(?P<word>nm_notifyuser\Z)|"
            rb"(?P<truncated>(?:" + start + rb"|" + _beginnings(b"nm_notifyuser") + rb")\Z)|"
            rb"(?P<bad_terminator>nm_notifyuser[\r\n])|"
            rb"(?P<query>(?:/W +)?[!-~]*\r\n)",
            re.DOTALL,
        )
        self._datagram = re.compile(line + (rb"|nm_notifyuser" if eof else b""))
        self._eof = eof

    def stream(self, said: Input) -> Verdict:
        """Return what a connection counts as.

        Args:
            said: all of it.
        """
        seen = said.data[:_SEEN]
        found = self._stream.match(seen)
        name = found.lastgroup if found else "mismatch"
        if name == "query":
            letters = re.sub(rb"[^A-Za-z]", b"", found[0] if found else b"").lower()
            return ("mismatch" if b"nmnot" in letters else "finger_query",)
        if name in {"empty", "word", "truncated"}:
            return self._incomplete(str(name), said.ends)
        if name == "trailing_data" and self._is_torn(said):
            return ("accepted", "trailing_data")
        return (str(name),)

    def datagram(self, data: bytes) -> Verdict:
        """Return what a datagram counts as.

        Args:
            data: its bytes.
        """
        return ("accepted" if self._datagram.fullmatch(data) else DROPPED,)

    def _incomplete(self, name: str, ends: Ends) -> Verdict:
        if ends is Ends.STAYS:
            return ("deadline",)
        if ends is Ends.LEAVES:
            return () if name == "empty" else ("reset",)
        if name == "word":
            return ("accepted" if self._eof else "truncated",)
        return (name,)

    def _is_torn(self, said: Input) -> bool:
        """Tell whether a line was complete at the end of a piece that was not the last one."""
        size = 0
        for piece in said.pieces[:-1]:
            size += len(piece)
            found = self._stream.match(said.data[:size])
            if found and found.lastgroup == "accepted":
                return True
        return False
