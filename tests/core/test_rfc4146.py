"""RFC 4146 on the wire: only the bytes and the end decide the outcome."""

from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fuzz.fuzz_stream import check_chunks, expected
from mailbell.core.outcome import End, Outcome
from mailbell.core.rfc4146 import (
    LINE,
    LINES,
    MAX_INPUT,
    STRICT,
    Receiver,
    Terminator,
    _beginnings,
    encode,
    parse_datagram,
)

TOKEN = b"nm_notifyuser"
ALL = frozenset(Terminator)
LF = frozenset({Terminator.LF})
EOF = frozenset({Terminator.EOF})

# Random bytes seldom resemble the line, so inputs are built from relevant pieces.
PIECES = [
    *(TOKEN, b"nm_", b"notify", b"user", b"NM_NOTIFYUSER", b"nmnotifyuser", b"nmnot", b"alice"),
    *(b"\r\n", b"\r", b"\n", b" ", b"\0", b"/W ", b"/W", b"@host", b"\xd5\xb8", b"x", b"_"),
]
NEAR = st.lists(st.sampled_from(PIECES), max_size=5).map(b"".join)
PREFIXES = st.integers(0, len(LINE)).map(lambda length: LINE[:length])
INPUTS = st.one_of(NEAR, PREFIXES, st.binary(max_size=20), st.builds(bytes.__add__, PREFIXES, NEAR))
ENDS = st.sampled_from(End)
TERMINATORS = st.frozensets(st.sampled_from(Terminator))


def bytewise(data: bytes) -> list[bytes]:
    return [data[i : i + 1] for i in range(len(data))]


def outcome_of(
    *chunks: bytes, end: End = End.EOF, terminators: frozenset[Terminator] = STRICT
) -> Outcome:
    receiver = Receiver(terminators)
    for chunk in chunks:
        receiver.receive(chunk)
    return receiver.finish(end)


@given(data=INPUTS, cuts=st.lists(st.integers(0, 20)), end=ENDS, terminators=TERMINATORS)
@example(data=LINE + b"\n", cuts=[15], end=End.EOF, terminators=STRICT)
@example(data=b"alice\r\nx", cuts=[7], end=End.EOF, terminators=STRICT)
def test_chunking_does_not_matter(
    data: bytes, cuts: list[int], end: End, terminators: frozenset[Terminator]
) -> None:
    bounds = [0, *sorted(cuts), len(data)]
    chunks = [data[start:stop] for start, stop in pairwise(bounds)]
    wanted = expected(data, end, terminators)
    for way in ([data], chunks, bytewise(data)):
        assert outcome_of(*way, end=end, terminators=terminators) is wanted


@given(data=INPUTS, more=INPUTS, end=ENDS, terminators=TERMINATORS)
def test_decision_is_final_but_for_trailing_data(
    data: bytes, more: bytes, end: End, terminators: frozenset[Terminator]
) -> None:
    receiver = Receiver(terminators)
    if receiver.receive(data):
        early = outcome_of(data, end=End.CLOSED, terminators=terminators)
        assert receiver.receive(more)
        late = receiver.finish(end)
        assert late is early or (early, late) == (Outcome.ACCEPTED, Outcome.TRAILING_DATA)


@given(data=INPUTS, terminators=TERMINATORS)
def test_undecided_means_that_it_can_still_be_decided(
    data: bytes, terminators: frozenset[Terminator]
) -> None:
    if not Receiver(terminators).receive(data):
        rest = [LINE[len(data) :], (TOKEN + b"\n")[len(data) :], b"\r\n", b"\n"]
        assert {outcome_of(data, more, end=End.RESET, terminators=terminators) for more in rest} & {
            Outcome.ACCEPTED,
            Outcome.BAD_TERMINATOR,
            Outcome.FINGER_QUERY,
            Outcome.MISMATCH,
        }


@pytest.mark.parametrize("end", End)
def test_whole_line_counts_however_it_ends(end: End) -> None:
    receiver = Receiver()
    assert not receiver.receive(LINE[:-1])
    assert receiver.receive(LINE[-1:])
    assert receiver.finish(end) is Outcome.ACCEPTED


@pytest.mark.parametrize(
    ("data", "end", "outcome"),
    [
        (b"", End.EOF, Outcome.EMPTY),
        (b"", End.CLOSED, Outcome.EMPTY),
        (b"", End.RESET, Outcome.RESET),
        (b"", End.DEADLINE, Outcome.DEADLINE),
        (TOKEN, End.EOF, Outcome.TRUNCATED),
        (TOKEN + b"\r", End.EOF, Outcome.TRUNCATED),
        (TOKEN + b"\r", End.CLOSED, Outcome.TRUNCATED),
        (TOKEN + b"\r", End.RESET, Outcome.RESET),
        (TOKEN + b"\r", End.DEADLINE, Outcome.DEADLINE),
        (TOKEN + b"\n", End.EOF, Outcome.BAD_TERMINATOR),
        (TOKEN + b"\r\r\n", End.EOF, Outcome.BAD_TERMINATOR),
        (TOKEN + b"\n\r", End.EOF, Outcome.BAD_TERMINATOR),
        (LINE + b"\0", End.EOF, Outcome.TRAILING_DATA),
        (LINE + LINE, End.RESET, Outcome.TRAILING_DATA),
        # words that resemble ours are no finger queries
        (TOKEN.upper() + b"\r\n", End.EOF, Outcome.MISMATCH),
        (b"nmnotifyuser\r\n", End.EOF, Outcome.MISMATCH),
        (b"nm-notifyuser\r\n", End.EOF, Outcome.MISMATCH),
        (b" nm_notifyuser\r\n", End.EOF, Outcome.MISMATCH),
        (TOKEN + b" \r\n", End.EOF, Outcome.MISMATCH),
        (TOKEN + b"\0\r\n", End.EOF, Outcome.MISMATCH),
        (TOKEN + b"s\r\n", End.EOF, Outcome.MISMATCH),
        ("nm_nоtifyuser\r\n".encode(), End.EOF, Outcome.MISMATCH),  # noqa: RUF001 - Cyrillic
        (b"\xef\xbb\xbf" + LINE, End.EOF, Outcome.MISMATCH),
        (b"\r\n" + LINE, End.EOF, Outcome.FINGER_QUERY),
        # finger queries (RFC 1288)
        (b"\r\n", End.EOF, Outcome.FINGER_QUERY),
        (b"alice\r\n", End.RESET, Outcome.FINGER_QUERY),
        (b"a@b.example\r\n", End.EOF, Outcome.FINGER_QUERY),
        (b"/W\r\n", End.EOF, Outcome.FINGER_QUERY),
        (b"/W  alice\r\n", End.EOF, Outcome.FINGER_QUERY),
        (b"abcdefghijklmn\r\n", End.EOF, Outcome.FINGER_QUERY),
        (b"abcdefghijklmno\r\n", End.EOF, Outcome.MISMATCH),
        (b"alice", End.EOF, Outcome.MISMATCH),
        (b"alice\r", End.DEADLINE, Outcome.MISMATCH),
        (b"alice\n", End.EOF, Outcome.MISMATCH),
        (b"al ice\r\n", End.EOF, Outcome.MISMATCH),
        (b"GET / HTTP/1.1\r\n", End.EOF, Outcome.MISMATCH),
        (b"\x16\x03\x01", End.DEADLINE, Outcome.MISMATCH),
    ],
)
def test_strict(data: bytes, end: End, outcome: Outcome) -> None:
    assert expected(data, end, STRICT) is outcome
    check_chunks([data], end, STRICT, outcome)
    check_chunks(bytewise(data), end, STRICT, outcome)


@pytest.mark.parametrize(
    ("data", "end", "terminators", "outcome"),
    [
        (TOKEN + b"\n", End.RESET, LF, Outcome.ACCEPTED),
        (TOKEN + b"\nx", End.EOF, LF, Outcome.TRAILING_DATA),
        (LINE, End.EOF, LF, Outcome.BAD_TERMINATOR),
        (TOKEN, End.EOF, LF, Outcome.TRUNCATED),
        (TOKEN, End.EOF, EOF, Outcome.ACCEPTED),
        (TOKEN, End.CLOSED, EOF, Outcome.TRUNCATED),
        (TOKEN, End.RESET, EOF, Outcome.RESET),
        (TOKEN, End.DEADLINE, EOF, Outcome.DEADLINE),
        (TOKEN[:-1], End.EOF, EOF, Outcome.TRUNCATED),
        (b"", End.EOF, EOF, Outcome.EMPTY),
        (LINE, End.EOF, EOF, Outcome.BAD_TERMINATOR),
        (LINE, End.EOF, ALL, Outcome.ACCEPTED),
        (TOKEN + b"\n", End.EOF, ALL, Outcome.ACCEPTED),
        (TOKEN + b"\r", End.EOF, ALL, Outcome.TRUNCATED),
        (LINE, End.EOF, frozenset(), Outcome.BAD_TERMINATOR),
    ],
)
def test_lenient(
    data: bytes, end: End, terminators: frozenset[Terminator], outcome: Outcome
) -> None:
    assert expected(data, end, terminators) is outcome
    check_chunks([data], end, terminators, outcome)
    check_chunks(bytewise(data), end, terminators, outcome)


@given(st.lists(st.binary(max_size=40), max_size=6))
def test_never_holds_more_than_sixteen_bytes(chunks: list[bytes]) -> None:
    receiver = Receiver()
    for chunk in chunks:
        decided = receiver.receive(chunk)
        assert len(receiver.data) <= MAX_INPUT
        assert receiver.room == MAX_INPUT - len(receiver.data)
        assert decided or receiver.room
    assert receiver.data == b"".join(chunks)[:MAX_INPUT]


def test_finish_is_once_and_for_all() -> None:
    receiver = Receiver()
    assert receiver.finish(End.DEADLINE) is Outcome.DEADLINE
    assert not receiver.receive(LINE)
    assert receiver.data == b""
    assert receiver.finish(End.EOF) is Outcome.DEADLINE


@given(data=INPUTS, terminators=TERMINATORS)
def test_datagram_is_a_stream_that_ends(data: bytes, terminators: frozenset[Terminator]) -> None:
    assert parse_datagram(data, terminators) is expected(data, End.EOF, terminators)
    assert (parse_datagram(data) is Outcome.ACCEPTED) == (data == LINE)


def test_what_is_sent_is_accepted() -> None:
    assert encode() == LINE == b"nm_notifyuser\r\n"
    assert len(LINE) == 15
    assert outcome_of(encode()) is parse_datagram(encode()) is Outcome.ACCEPTED


def test_each_end_of_the_line_has_the_name_that_the_configuration_uses() -> None:
    assert [end.value for end in Terminator] == ["crlf", "lf", "eof"]


@pytest.mark.parametrize("terminator", Terminator)
def test_no_byte_of_a_line_decides_before_the_last(terminator: Terminator) -> None:
    receiver = Receiver(frozenset({terminator}))
    decided = [receiver.receive(byte) for byte in bytewise(LINES[terminator])]
    assert decided[:-1] == [False] * (len(decided) - 1)
    assert decided[-1] is (terminator is not Terminator.EOF)


def test_each_beginning_of_a_line_may_still_become_one() -> None:
    # What was found before is kept: this is asked anew.
    found = _beginnings.__wrapped__(STRICT)
    assert found == {LINE[:length] for length in range(len(LINE) + 1)}
