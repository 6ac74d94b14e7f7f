"""The receiver accepts what one regular expression says, and nothing else, however it is cut.

The expression is written from RFC 4146, section 3, and docs/protocol.md, and not from the
receiver. The first byte chooses the terminators, the second one the end, the third how it is cut.
"""

import re

from mailbell.core.outcome import End, Outcome
from mailbell.core.rfc4146 import LINE, Receiver, Terminator, encode, parse_datagram

# What a permitted end of a line adds to the expression. Without an end the sender must close.
_ENDS = {Terminator.CRLF: rb"\r\n", Terminator.LF: rb"\n", Terminator.EOF: rb""}


def expression(terminators: frozenset[Terminator], end: End) -> "re.Pattern[bytes]":
    """Returns what all bytes of a connection that ends so must match."""
    ends = [_ENDS[name] for name in terminators if name is not Terminator.EOF or end is End.EOF]
    return re.compile(rb"nm_notifyuser(?:%s)" % b"|".join(ends) if ends else rb"(?!)")


def received(pieces: list[bytes], terminators: frozenset[Terminator], end: End) -> Outcome:
    """Returns the outcome of a connection."""
    receiver = Receiver(terminators)
    for piece in pieces:
        receiver.receive(piece)
    return receiver.finish(end)


def check(data: bytes) -> None:
    """Raises AssertionError when an input breaks the invariant."""
    if len(data) < 3:
        return
    terminators = frozenset(name for bit, name in enumerate(Terminator) if data[0] >> bit & 1)
    end = list(End)[data[1] % len(End)]
    size, stream = data[2] % 32 + 1, data[3:]
    pieces = [stream[at : at + size] for at in range(0, len(stream), size)]
    wanted = expression(terminators, end).fullmatch(stream) is not None
    assert (received(pieces, terminators, end) is Outcome.ACCEPTED) == wanted
    of_datagram = expression(terminators, End.EOF).fullmatch(stream) is not None
    assert (parse_datagram(stream, terminators) is Outcome.ACCEPTED) == of_datagram
    assert encode() == LINE
