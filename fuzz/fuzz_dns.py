"""Any bytes of a name server are addresses that stand in them, or a reason; and so for messages.

The first byte says which family was asked for, or that the rest is a message of the resolver.
"""

from mailbell.core.networks import Family
from mailbell.sender._dns_reply import read_reply
from mailbell.sender._inquiries import IPV4, IPV6
from mailbell.sender._names import ADDRESSES, LONGEST, decode_answer, encode_answer, is_name


def check(data: bytes) -> None:
    """Raises AssertionError when an input breaks the invariant."""
    if data[:1] == b"m":
        check_message(data[1:])
    else:
        check_reply(data[1:], IPV4 if data[:1] < b"\x80" else IPV6)


def check_reply(data: bytes, kind: int) -> None:
    """Checks an answer of a name server."""
    reply = read_reply(data, kind)
    assert (reply.reason is None) == bool(reply.addresses)
    assert 0 <= reply.ttl <= LONGEST
    for family, value in reply.addresses:
        assert family is (Family.IPV4 if kind == IPV4 else Family.IPV6)
        assert value.to_bytes(family.bits // 8, "big") in data
        assert family is Family.IPV4 or value >> 32 != 0xFFFF


def check_message(data: bytes) -> None:
    """Checks a message of the resolver, in which an intruder may be."""
    answer = decode_answer(data)
    if answer is None:
        return
    assert is_name(answer.name)
    assert len(answer.addresses) <= ADDRESSES
    assert (answer.reason is None) == bool(answer.addresses)
    assert decode_answer(encode_answer(answer)) == answer
