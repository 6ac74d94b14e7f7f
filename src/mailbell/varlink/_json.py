"""Reads JSON from a peer, and refuses all that is doubtful.

The parser is msgspec's. We also refuse three things that it accepts: a key that occurs
twice (RFC 8259, section 4: "the behavior of software that receives such an object is
unpredictable"), integers of more than 64 bits (Varlink's `int` is signed 64-bit), and
objects nested deeper than any of ours.
"""

import re

import msgspec

from mailbell.varlink._errors import ProtocolError

__all__ = ["MAX_DEPTH", "decode_object_untrusted"]

MAX_DEPTH = 16
"""The deepest nesting that is accepted. Our deepest message, a status, has six levels."""

_STRING = re.compile(rb'"(?:[^"\\]|\\.)*+"')
_BRACKET = re.compile(rb"[\[\]{}]")
_INT_MIN, _INT_MAX = -(1 << 63), (1 << 63) - 1
_decoder = msgspec.json.Decoder()


def decode_object_untrusted(message: bytes) -> dict[str, object]:
    """Read one JSON object.

    Args:
        message: the message without its NUL.

    Returns:
        Its members. Every integer in it, at any depth, fits in 64 bits.

    Raises:
        ProtocolError: the message is anything else. No bytes cause another exception.
    """
    try:
        value: object = _decoder.decode(message)
    except (msgspec.DecodeError, ValueError, RecursionError):
        # Before msgspec 0.21, DecodeError is no subclass of ValueError; invalid UTF-8 is a
        # ValueError with every version. The depth that CPython refuses differs between its
        # versions. Our own limit of 16 is always below it.
        raise ProtocolError("a message that is not valid JSON") from None
    if not isinstance(value, dict):
        raise ProtocolError("a message that is not a JSON object")
    _check_structure(message, value)
    return value


def _check_structure(message: bytes, value: object) -> None:
    # The JSON is valid here. So each quote opens or closes a string, and one pass removes
    # all strings. Each colon that is left belongs to one member.
    bare = _STRING.sub(b"", message)
    if _measure_depth(bare) > MAX_DEPTH:
        raise ProtocolError("a message that is nested too deeply")
    if _count_members(value) != bare.count(b":"):
        raise ProtocolError("a message that has a key twice")


def _measure_depth(bare: bytes) -> int:
    depth = deepest = 0
    for bracket in _BRACKET.findall(bare):
        depth += 1 if bracket in b"[{" else -1
        deepest = max(deepest, depth)
    return deepest


def _count_members(value: object) -> int:
    """Count the members of all objects in a value, and check every integer."""
    if isinstance(value, dict):
        return len(value) + sum(map(_count_members, value.values()))
    if isinstance(value, list):
        return sum(map(_count_members, value))
    if isinstance(value, int) and not _INT_MIN <= value <= _INT_MAX:
        raise ProtocolError("a message with an integer of more than 64 bits")
    return 0
