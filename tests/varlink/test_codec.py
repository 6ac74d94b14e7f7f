import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailbell.varlink import CALL_LIMIT, REPLY_LIMIT, Decoder, MessageTooLong, ProtocolError

LIMIT = 8


def feed(pieces: list[bytes], limit: int = LIMIT) -> tuple[list[bytes], bool]:
    """Returns all messages, and whether the stream was lost."""
    decoder = Decoder(limit)
    messages: list[bytes] = []
    for piece in pieces:
        try:
            messages += decoder.feed_untrusted(piece)
        except MessageTooLong as error:
            return messages + list(error.messages), True
        assert len(decoder._held) <= limit
    return messages, False


def naive(stream: bytes, limit: int = LIMIT) -> tuple[list[bytes], bool]:
    *complete, rest = stream.split(b"\0")
    for index, message in enumerate(complete):
        if len(message) > limit:
            return complete[:index], True
    return complete, len(rest) > limit


# Short alphabets and short messages reach the limit often.
streams = st.lists(st.binary(max_size=LIMIT + 2) | st.just(b"\0"), max_size=12).map(b"".join)


@given(st.lists(st.sampled_from([b"", b"a", b"\0", b"bb\0", b"cccccccc", b"c\0d\0"]), max_size=14))
def test_any_chunking_is_a_split_on_nul(pieces: list[bytes]) -> None:
    assert feed(pieces) == naive(b"".join(pieces))


@given(streams)
def test_whole_and_byte_by_byte_are_the_same(stream: bytes) -> None:
    by_byte = [stream[i : i + 1] for i in range(len(stream))]
    assert feed([stream]) == feed(by_byte) == naive(stream)


@pytest.mark.parametrize("nul", [b"", b"\0"])
def test_the_limit_is_exact(nul: bytes) -> None:
    most = b"x" * CALL_LIMIT
    assert feed([most + nul], CALL_LIMIT) == ([most] if nul else [], False)
    assert feed([most, nul], CALL_LIMIT) == ([most] if nul else [], False)
    assert feed([most + b"x" + nul], CALL_LIMIT) == ([], True)
    assert feed([most, b"x" + nul], CALL_LIMIT) == ([], True)
    assert CALL_LIMIT == 4096


def test_a_lost_stream_stays_lost_and_holds_nothing() -> None:
    decoder = Decoder(4)
    with pytest.raises(MessageTooLong, match="more than 4 bytes") as caught:
        decoder.feed_untrusted(b"ok\0hello")
    assert caught.value.messages == (b"ok",)
    assert caught.value.limit == 4
    assert isinstance(caught.value, ProtocolError)
    assert not decoder._held
    with pytest.raises(MessageTooLong) as again:
        decoder.feed_untrusted(b"\0fine\0")
    assert again.value.messages == ()


def test_the_limits_are_those_of_the_document() -> None:
    assert (CALL_LIMIT, REPLY_LIMIT) == (4096, 1 << 20)


def test_a_lost_stream_says_its_limit_each_time_and_holds_nothing() -> None:
    decoder = Decoder(LIMIT)
    assert decoder.feed_untrusted(b"a\0" + b"x" * LIMIT) == [b"a"]
    with pytest.raises(MessageTooLong) as first:
        decoder.feed_untrusted(b"x")
    with pytest.raises(MessageTooLong) as second:
        decoder.feed_untrusted(b"")
    assert (first.value.limit, second.value.limit) == (LIMIT, LIMIT)
    assert len(decoder._held) == 0
    assert not hasattr(decoder, "__dict__"), "there are as many as connections"
