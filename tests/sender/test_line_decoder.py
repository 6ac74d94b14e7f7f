import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailbell.sender._line_decoder import (
    MAX_EVENT,
    MAX_LINE,
    STRANGERS_MAX_EVENT,
    LineDecoder,
    LineTooLong,
)


def test_lines_end_in_lf_and_the_last_one_at_the_end() -> None:
    it = LineDecoder()
    assert it.feed_untrusted(b"new a\nnew b\n\nne") == [b"new a", b"new b", b""]
    within = [it.is_within_line]
    assert it.feed_untrusted(b"w c") == []
    assert it.finish() == [b"new c"]
    assert [*within, it.is_within_line] == [True, False]
    assert it.finish() == []


@pytest.mark.parametrize(
    ("first", "limit", "most"),
    [
        (b"n", MAX_LINE, MAX_EVENT),
        (b"{", MAX_EVENT, MAX_EVENT),
        (b"{", STRANGERS_MAX_EVENT, STRANGERS_MAX_EVENT),
    ],
)
def test_a_line_may_be_as_long_as_its_limit(first: bytes, limit: int, most: int) -> None:
    longest = first + b"x" * (limit - 1)
    for end in (b"\n", b""):
        it = LineDecoder(most)
        assert [*it.feed_untrusted(longest + end), *it.finish()] == [longest]
        it = LineDecoder(most)
        with pytest.raises(LineTooLong) as error:
            it.feed_untrusted(b"new a\n" + longest + b"x" + end)
        assert (error.value.lines, error.value.args) == ([b"new a"], ([b"new a"],))
        assert not it.is_within_line
        with pytest.raises(LineTooLong) as error:
            it.feed_untrusted(b"new b\n")
        assert error.value.lines == []
        assert it.finish() == []


def test_ten_mebibytes_are_refused_at_the_first_byte_too_many() -> None:
    it = LineDecoder()
    assert it.feed_untrusted(b"x" * MAX_LINE) == []
    with pytest.raises(LineTooLong):
        it.feed_untrusted(b"x" * (10 << 20))
    assert not it.is_within_line


def model(data: bytes) -> tuple[list[bytes], bool]:
    """Return the lines of a whole stream, and whether they end before one that is too long."""
    lines: list[bytes] = []
    for line in data.removesuffix(b"\n").split(b"\n") if data else []:
        if len(line) > (MAX_EVENT if line[:1] == b"{" else MAX_LINE):
            return lines, True
        lines.append(line)
    return lines, False


PIECES = st.sampled_from([b"\n", b"{", b"new a", b"x" * 300, b"y" * 513, b"z" * 9000])


@given(st.lists(PIECES, max_size=12).map(b"".join), st.lists(st.integers(0, 600), max_size=8))
def test_how_the_bytes_are_split_makes_no_difference(data: bytes, sizes: list[int]) -> None:
    it = LineDecoder()
    lines: list[bytes] = []
    failed = False
    rest = data
    try:
        for size in [*sizes, len(data)]:
            lines += it.feed_untrusted(rest[:size])
            rest = rest[size:]
        lines += it.finish()
    except LineTooLong as error:
        lines, failed = lines + error.lines, True
    assert (lines, failed) == model(data)
