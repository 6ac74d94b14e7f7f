"""The lines of a stream depend on its bytes alone, and each one is a request or malformed.

The first byte of an input chooses how the rest is cut into chunks.
"""

from mailbell.core.networks import Address, Family
from mailbell.core.sender_outcome import InputOutcome
from mailbell.sender._hook_line import parse_line_untrusted
from mailbell.sender._line_decoder import MAX_EVENT, MAX_LINE, LineDecoder, LineTooLong
from mailbell.sender._requests import IGNORED, Malformed, NewMail, Seen


def expected(data: bytes) -> tuple[list[bytes], bool]:
    """Returns the lines of a whole stream, and whether they end before one that is too long."""
    lines: list[bytes] = []
    *complete, last = data.split(b"\n")
    for line in [*complete, last] if last else complete:
        if len(line) > (MAX_EVENT if line.startswith(b"{") else MAX_LINE):
            return lines, True
        lines.append(line)
    return lines, False


def decoded(data: bytes, size: int) -> tuple[list[bytes], bool]:
    """Returns the same of a decoder that gets the stream in chunks."""
    decoder = LineDecoder()
    lines: list[bytes] = []
    try:
        for start in range(0, len(data), size):
            lines += decoder.feed_untrusted(data[start : start + size])
        return lines + decoder.finish(), False
    except LineTooLong as error:
        return lines + error.lines, True


def check_request(line: bytes) -> None:
    """Raises AssertionError when the answer to a line is none of the permitted ones."""
    found = parse_line_untrusted(line)
    if isinstance(found, Malformed):
        assert found.outcome is InputOutcome.MALFORMED
        assert found.why
    elif found is not IGNORED:
        assert isinstance(found, NewMail | Seen)
        assert found.account, "nobody"
        assert line.startswith(b"{") or found.account.encode() in line
    if isinstance(found, Seen):
        assert is_peer(found.address)
    if isinstance(found, NewMail) and not line.startswith(b"{"):
        rest = [] if found.folder is None else [found.folder]
        assert " ".join(["new", found.account, *rest]).encode() == line


def is_peer(address: Address) -> bool:
    """Tells whether an address is in its own family."""
    return address.family is Family.IPV4 or address.value >> 32 != 0xFFFF


def check(data: bytes) -> None:
    """Raises AssertionError when an input breaks the invariant."""
    size, stream = (data[0] % 64 + 1 if data else 1), data[1:]
    lines, failed = expected(stream)
    for chunk in (size, len(stream) + 1):
        assert decoded(stream, chunk) == (lines, failed)
    for line in lines:
        check_request(line)
