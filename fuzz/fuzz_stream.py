"""However a stream is cut into chunks, its outcome is the one of a simple look at all its bytes.

The first byte of an input chooses the terminators and the end. The second byte chooses how the
rest is cut.
"""

from collections.abc import Iterator

from mailbell.core.outcome import End, Outcome
from mailbell.core.rfc4146 import MAX_INPUT, Receiver, Terminator

TOKEN = b"nm_notifyuser"
BY_END = {
    End.CLOSED: Outcome.TRUNCATED,
    End.EOF: Outcome.TRUNCATED,
    End.RESET: Outcome.RESET,
    End.DEADLINE: Outcome.DEADLINE,
}
PRINTABLE = frozenset(range(0x21, 0x7F))


def expected(data: bytes, end: End, terminators: frozenset[Terminator]) -> Outcome:
    """Returns the outcome of a whole input in the slow and obvious way, as a model."""
    if data == TOKEN and end is End.EOF and Terminator.EOF in terminators:
        return Outcome.ACCEPTED
    if TOKEN.startswith(data) or (data == TOKEN + b"\r" and Terminator.CRLF in terminators):
        return BY_END[end] if data or end not in {End.CLOSED, End.EOF} else Outcome.EMPTY
    if not data.startswith((TOKEN + b"\r", TOKEN + b"\n")):
        return expected_stranger(data)
    rest = data.removeprefix(TOKEN)
    for name, terminator in (Terminator.CRLF, b"\r\n"), (Terminator.LF, b"\n"):
        if name in terminators and rest.startswith(terminator):
            return Outcome.ACCEPTED if rest == terminator else Outcome.TRAILING_DATA
    return Outcome.BAD_TERMINATOR


def expected_stranger(data: bytes) -> Outcome:
    """Returns the outcome of other bytes: a finger query within 16 bytes, or a mismatch."""
    line, crlf, _ = data[:MAX_INPUT].partition(b"\r\n")
    user = line.removeprefix(b"/W").lstrip(b" ") if line.startswith(b"/W ") else line
    letters = "".join(chr(byte) for byte in line if chr(byte).isascii() and chr(byte).isalpha())
    if not crlf or not PRINTABLE.issuperset(user) or "nmnot" in letters.lower():
        return Outcome.MISMATCH
    return Outcome.FINGER_QUERY


def cut(data: bytes, pattern: int) -> Iterator[bytes]:
    """Cuts off up to four chunks; each two bits of `pattern` give a size of 0 to 3."""
    for size in (pattern & 3, pattern >> 2 & 3, pattern >> 4 & 3, pattern >> 6 & 3):
        yield data[:size]
        data = data[size:]
    yield data


def check_chunks(
    chunks: list[bytes], end: End, terminators: frozenset[Terminator], outcome: Outcome
) -> None:
    """Feeds the chunks, and compares each answer of the receiver with the whole input."""
    receiver = Receiver(terminators)
    fed, decided = b"", False
    for chunk in chunks:
        done = receiver.receive(chunk)
        fed += chunk
        assert receiver.data == fed[:MAX_INPUT]
        assert receiver.room == MAX_INPUT - len(receiver.data)
        assert done or not decided, "a decision was taken back"
        assert done or receiver.room, "undecided, but there is no room"
        if done and not decided:
            check_decision(expected(fed, End.CLOSED, terminators), outcome)
        decided = done
    assert receiver.finish(end) is outcome
    assert receiver.receive(b"\r\n") or not decided
    assert all(receiver.finish(other) is outcome for other in End), "a second outcome"


def check_decision(early: Outcome, outcome: Outcome) -> None:
    """Once an outcome is decided, only data after the line may change it."""
    assert early is outcome or (early, outcome) == (Outcome.ACCEPTED, Outcome.TRAILING_DATA)


def check(data: bytes) -> None:
    """Raises AssertionError when an input breaks the invariant."""
    if len(data) < 2:
        return
    choice, pattern, whole = data[0], data[1], data[2:]
    terminators = frozenset(name for bit, name in enumerate(Terminator) if choice >> bit & 1)
    end = list(End)[choice >> 3 & 3]
    outcome = expected(whole, end, terminators)
    check_chunks([whole], end, terminators, outcome)
    check_chunks([whole[i : i + 1] for i in range(len(whole))], end, terminators, outcome)
    check_chunks(list(cut(whole, pattern)), end, terminators, outcome)
