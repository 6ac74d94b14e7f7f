import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailbell.varlink import ProtocolError
from mailbell.varlink._json import MAX_DEPTH, decode_object_untrusted

INT64 = st.integers(-(2**63), 2**63 - 1)
values = st.recursive(
    st.none()
    | st.booleans()
    | INT64
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
objects = st.dictionaries(st.text(), values, max_size=4)


@given(objects, st.booleans(), st.sampled_from([None, 1]))
def test_reads_what_another_library_wrote(
    value: dict[str, Any], ascii_only: bool, indent: int | None
) -> None:
    # The encoder of the standard library, not ours, with its escapes and blanks.
    text = json.dumps(value, ensure_ascii=ascii_only, indent=indent)
    try:
        message = text.encode()
    except UnicodeEncodeError:  # a lone surrogate, which UTF-8 does not have
        return
    assert decode_object_untrusted(message) == value


@given(
    st.binary(max_size=64) | st.text(alphabet='{}[]":,\\u0d8aent1e.-', max_size=40).map(str.encode)
)
def test_any_bytes_give_an_object_or_a_protocol_error(message: bytes) -> None:
    try:
        value = decode_object_untrusted(message)
    except ProtocolError:
        return
    assert value == json.loads(message)


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (b"", "not valid JSON"),
        (b"{", "not valid JSON"),
        (b'{"a":1} x', "not valid JSON"),
        (b'{"a":NaN}', "not valid JSON"),
        (b'{"a":Infinity}', "not valid JSON"),
        (b'{"a":-Infinity}', "not valid JSON"),
        (b'{"a":1e999}', "not valid JSON"),
        (b'{"a":"\xff"}', "not valid JSON"),
        (b'{"a":"\xed\xa0\x80"}', "not valid JSON"),  # a surrogate in UTF-8
        (b'{"a":"\\ud800"}', "not valid JSON"),
        (b'{"a":"\\udc00abcdef"}', "not valid JSON"),
        (b'{"a":"\x01"}', "not valid JSON"),
        (b"\xef\xbb\xbf{}", "not valid JSON"),  # RFC 8259: no byte order mark
        (b"[]", "not a JSON object"),
        (b"null", "not a JSON object"),
        (b'"{}"', "not a JSON object"),
        (b'{"a":1,"a":1}', "a key twice"),
        (b'{"a":1,"\\u0061":2}', "a key twice"),
        (b'{"x":[{"y":{"b":1,"b":2}}]}', "a key twice"),
        (b'{"a":%d}' % 2**63, "more than 64 bits"),
        (b'{"a":[{"b":%d}]}' % (-(2**63) - 1), "more than 64 bits"),
        (b'{"a":' + b"9" * 4000 + b"}", "more than 64 bits|not valid JSON"),
        (b'{"a":' + b"9" * 9000 + b"}", "not valid JSON"),
    ],
)
def test_refuses(message: bytes, reason: str) -> None:
    with pytest.raises(ProtocolError, match=reason):
        decode_object_untrusted(message)


class OlderError(Exception):
    """The error of msgspec before 0.21, which is no ValueError."""


class OlderDecoder:
    def decode(self, _: bytes) -> object:
        raise OlderError


def test_an_error_of_an_older_msgspec_is_refused_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("msgspec.DecodeError", OlderError)
    monkeypatch.setattr("mailbell.varlink._json._decoder", OlderDecoder())
    with pytest.raises(ProtocolError, match="not valid JSON"):
        decode_object_untrusted(b"{")


@pytest.mark.parametrize("extreme", [2**63 - 1, -(2**63)])
def test_takes_the_whole_range_of_an_integer(extreme: int) -> None:
    assert decode_object_untrusted(b'{"a":%d}' % extreme) == {"a": extreme}


@pytest.mark.parametrize(("opening", "closing"), [(b"[", b"]"), (b'{"a":', b"}")])
def test_the_depth_is_exact(opening: bytes, closing: bytes) -> None:
    def nested(depth: int) -> bytes:  # the object around it is one level
        inner = depth - 1
        return b'{"a":' + opening * inner + b"1" + closing * inner + b"}"

    assert decode_object_untrusted(nested(MAX_DEPTH))
    with pytest.raises(ProtocolError, match="too deeply"):
        decode_object_untrusted(nested(MAX_DEPTH + 1))
    # As deep as a reply of the greatest length can be, for every interpreter.
    with pytest.raises(ProtocolError):
        decode_object_untrusted(nested(100_000))
    with pytest.raises(ProtocolError):
        decode_object_untrusted(b'{"a":' + opening * 200_000)


def test_brackets_and_colons_in_strings_do_not_count() -> None:
    text = '":[{' * 40 + "\\"
    message = json.dumps({text: text, "b": [text, {text: 1}]}).encode()
    assert decode_object_untrusted(message) == json.loads(message)


def test_floats_stay_floats() -> None:
    value = decode_object_untrusted(b'{"a":1e300,"b":-0.5}')
    assert value == {"a": 1e300, "b": -0.5}
    assert math.isfinite(float(str(value["a"])))


@pytest.mark.parametrize(
    ("message", "why"),
    [
        (b'{"a"', "a message that is not valid JSON"),
        (b'{"a": 1, "a": 2}', "a message that has a key twice"),
        (b'{"a": 9223372036854775808}', "a message with an integer of more than 64 bits"),
        (b'{"a": -9223372036854775809}', "a message with an integer of more than 64 bits"),
        (b"[]", "a message that is not a JSON object"),
        (b'{"a": ' + b"[" * 16 + b"]" * 16 + b"}", "a message that is nested too deeply"),
    ],
)
def test_what_is_refused_is_told_why(message: bytes, why: str) -> None:
    with pytest.raises(ProtocolError) as refused:
        decode_object_untrusted(message)
    assert str(refused.value) == why


@pytest.mark.parametrize("number", [-(1 << 63), (1 << 63) - 1])
def test_the_first_and_the_last_integer_are_read(number: int) -> None:
    assert decode_object_untrusted(b'{"a": %d}' % number) == {"a": number}


@pytest.mark.parametrize("before", [0, 1, 7])
def test_what_was_closed_before_makes_nothing_less_deep(before: int) -> None:
    def nested(depth: int) -> bytes:
        inner = b"[" * (depth - 2) + b"]" * (depth - 2)
        return b'{"a": [' + b"[], " * before + inner + b"]}"

    assert MAX_DEPTH == 16
    assert decode_object_untrusted(nested(16))
    with pytest.raises(ProtocolError, match="nested too deeply"):
        decode_object_untrusted(nested(17))
