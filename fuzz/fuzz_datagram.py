"""A datagram is accepted if it is one whole permitted line; else its outcome is a closed stream's.

The first byte of an input chooses the terminators, the rest is the datagram.
"""

from fuzz.fuzz_stream import TOKEN, expected
from mailbell.core.outcome import End, Outcome
from mailbell.core.rfc4146 import LINE, STRICT, Receiver, Terminator, parse_datagram

ENDS = {Terminator.CRLF: b"\r\n", Terminator.LF: b"\n", Terminator.EOF: b""}


def check(data: bytes) -> None:
    """Raises AssertionError when an input breaks the invariant."""
    choice, datagram = data[:1], data[1:]
    terminators = frozenset(
        name for bit, name in enumerate(Terminator) if choice and choice[0] >> bit & 1
    )
    outcome = parse_datagram(datagram, terminators)
    permitted = {TOKEN + ENDS[name] for name in terminators}
    assert (outcome is Outcome.ACCEPTED) == (datagram in permitted)
    assert outcome is expected(datagram, End.EOF, terminators)

    receiver = Receiver(terminators)
    receiver.receive(datagram)
    assert outcome is receiver.finish(End.EOF)

    strictly = parse_datagram(datagram)
    assert strictly is parse_datagram(datagram, STRICT)
    assert (strictly is Outcome.ACCEPTED) == (datagram == LINE)
