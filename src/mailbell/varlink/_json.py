"""JSON from a peer, read without giving the benefit of the doubt.

The parser is msgspec's. What it lets pass and we do not: a key given twice
(RFC 8259, section 4: "the behavior of software that receives such an object is
unpredictable"), integers beyond 64 bits (Varlink's `int` is signed 64-bit), and
nesting deeper than anything we declare.
"""

import re

import msgspec

from mailbell.varlink._errors import ProtocolError

__all__ = ["MAX_DEPTH", "decode_object_untrusted"]

MAX_DEPTH = 16
"""Our deepest message, a status, has six levels."""

_STRING = re.compile(rb'"(?:[^"\\]|\\.)*+"')
_BRACKET = re.compile(rb"[\[\]{}]")
_INT_MIN, _INT_MAX = -(1 << 63), (1 << 63) - 1
_decoder = msgspec.json.Decoder()


def decode_object_untrusted(message: bytes) -> dict[str, object]:
    """Read one JSON object.

    Args:
        message: the message without its NUL.

    Returns:
        Its members. Every integer in it, at any depth, has 64 bits.

    Raises:
        ProtocolError: anything else; the only exception for any bytes.
    """
    try:
        value: object = _decoder.decode(message)
    except (msgspec.DecodeError, ValueError, RecursionError):
        # Before msgspec 0.21 a DecodeError is no ValueError, which invalid UTF-8 is
        # with every version. How deep is too deep differs between versions of
        # CPython; below it is always 16.
        raise ProtocolError("a message that is not valid JSON") from None
    if not isinstance(value, dict):
        raise ProtocolError("a message that is not a JSON object")
    _check_structure(message, value)
    return value


def _check_structure(message: bytes, value: object) -> None:
    # Only for valid JSON: there each quote opens or closes a string, so that
    # one pass removes them all, and a colon outside of them is one member.
    bare = _STRING.sub(b"", message)
    if _depth(bare) > MAX_DEPTH:
        raise ProtocolError("a message that is nested too deeply")
    if _members(value) != bare.count(b":"):
        raise ProtocolError("a message that has a key twice")


def _depth(bare: bytes) -> int:
    depth = deepest = 0
    for bracket in _BRACKET.findall(bare):
        depth += 1 if bracket in b"[{" else -1
        deepest = max(deepest, depth)
    return deepest


def _members(value: object) -> int:
    """Count the members of all objects in it, and look at every integer."""
    if isinstance(value, dict):
        return len(value) + sum(map(_members, value.values()))
    if isinstance(value, list):
        return sum(map(_members, value))
    if isinstance(value, int) and not _INT_MIN <= value <= _INT_MAX:
        raise ProtocolError("a message with an integer of more than 64 bits")
    return 0
