from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailbell.agent._lines import MAX_LINE, MAX_LINES, MAX_OUTPUT, Lines

LINE = b"x" * 999 + b"\n"


def told(pieces: Sequence[bytes]) -> tuple[list[bytes], int]:
    found: list[bytes] = []
    lines = Lines(found.append)
    for piece in pieces:
        lines.feed(piece)
    lines.finish()
    return found, lines.dropped


def naive(data: bytes) -> tuple[list[bytes], int]:
    """The expected lines of a whole output, each cut to the room that is left."""
    found: list[bytes] = []
    room = MAX_OUTPUT
    *ended, last = data.split(b"\n")
    for line in [*ended, *([last] if last else [])]:
        if room <= 0 or len(found) == MAX_LINES:
            break
        found.append(line[: min(MAX_LINE, room)])
        room -= len(found[-1]) + 1
    ends = min(len(found), len(ended))
    return found, len(data) - sum(map(len, found)) - ends


@pytest.mark.parametrize(
    ("pieces", "lines", "dropped"),
    [
        ([], [], 0),
        ([b"one\ntwo\n"], [b"one", b"two"], 0),
        ([b"o", b"ne\ntw", b"o\n"], [b"one", b"two"], 0),
        ([b"without an end"], [b"without an end"], 0),
        ([b"\n\n"], [b"", b""], 0),
        ([b"\x1b[2J\x00\xff\r\n"], [b"\x1b[2J\x00\xff\r"], 0),
        ([b"x" * 1_000 + b"\ny"], [b"x" * 1_000, b"y"], 0),
        ([b"x" * 999, b"yz\nw"], [b"x" * 999 + b"y", b"w"], 1),
        ([b"\n" * 5_000], [b""] * 1_000, 4_000),
        ([LINE * 65 + b"y" * 535 + b"\nz\n"], [LINE[:-1]] * 65 + [b"y" * 535], 2),
        ([LINE * 65 + b"y" * 534 + b"\nzz\n"], [LINE[:-1]] * 65 + [b"y" * 534, b"z"], 1),
        ([b"1234567\n" * 999 + b"last"] * 2, [b"1234567"] * 999 + [b"last1234567"], 7_988),
    ],
)
def test_lines(pieces: list[bytes], lines: list[bytes], dropped: int) -> None:
    assert told(pieces) == (lines, dropped)


def test_of_a_run_only_so_much_is_told() -> None:
    lines, dropped = told([b"x" * 999 + b"\n"] * 100)
    assert sum(len(line) + 1 for line in lines) == MAX_OUTPUT + 1  # with the end of the last line
    assert len(lines) == 66
    assert dropped == 100_000 - MAX_OUTPUT - 1


def test_what_finds_no_room_is_counted_at_once() -> None:
    lines = Lines(lambda _: None)
    lines.feed(b"\n" * MAX_LINES + b"one")
    assert lines.dropped == 3
    lines.feed(b"two")
    assert lines.dropped == 6


# Repeated, small pieces reach every limit.
PIECES = st.lists(
    st.one_of(
        st.binary(max_size=40),
        st.sampled_from([b"\n", b"\n\n", b"a" * 999, b"b" * 1_000, b"c" * 1_001, b"d" * 535]),
        st.builds(
            lambda line, times: line * times,
            st.sampled_from([b"\n", b"e\n", b"f" * 65 + b"\n", b"g" * 999 + b"\n", b"h"]),
            st.integers(1, 1_100),
        ),
    ),
    max_size=12,
)


@given(PIECES)
def test_however_it_comes_it_is_told_as_a_naive_model_says(pieces: list[bytes]) -> None:
    assert told(pieces) == naive(b"".join(pieces))


@given(PIECES)
def test_what_is_held_is_never_more_than_a_line(pieces: list[bytes]) -> None:
    lines = Lines(lambda _: None)
    for piece in pieces:
        lines.feed(piece)
        assert len(lines._held) <= MAX_LINE
