"""Each byte of a command's output is in a line, ends one, or is counted, however it is cut.

The first byte says how the rest is cut, the second one how often it is repeated.
"""

from mailbell.agent._lines import MAX_LINE, MAX_LINES, MAX_OUTPUT, Lines

_LONGEST = 2 * MAX_OUTPUT  # bytes


def passed(stream: bytes, size: int) -> tuple[list[bytes], int]:
    """Returns the lines and the number of bytes that were left out."""
    told: list[bytes] = []
    lines = Lines(told.append)
    for at in range(0, len(stream), size):
        lines.feed(stream[at : at + size])
    lines.finish()
    return told, lines.dropped


def check(data: bytes) -> None:
    """Raises AssertionError when an input breaks the invariant."""
    size, times, output = (data[0] + 1, data[1], data[2:]) if len(data) > 2 else (1, 0, b"")
    stream = (output * (times + 1))[:_LONGEST]
    told, dropped = passed(stream, size)
    assert (told, dropped) == passed(stream, len(stream) + 1)
    assert len(told) <= MAX_LINES
    assert all(len(line) <= MAX_LINE and b"\n" not in line for line in told)
    kept = sum(map(len, told))
    assert kept + len(told) <= MAX_OUTPUT + 1
    # The last line may have no end.
    assert len(stream) - kept - dropped in {len(told) - 1, len(told)} or not told
    if len(stream) <= MAX_LINE and stream.count(b"\n") < MAX_LINES:
        assert not dropped
        assert told == stream.removesuffix(b"\n").split(b"\n") or not stream
