"""Two Varlink libraries of other projects read a message as ours does, or ours refuses it.

A message that we take for a call or a reply means the same to `varlink` and to `asyncvarlink`.
What they write, we read. Where ours is stricter, one of our rules is the reason: no key twice, no
integer of more than 64 bits, no deep nesting, no null or wrong type in the envelope.
"""

import json
import math
from contextlib import suppress
from typing import Any

from asyncvarlink import VarlinkMethodCall, VarlinkMethodReply
from asyncvarlink.protocol import varlink_boundaries
from varlink.client import SimpleClientInterfaceHandler
from varlink.error import VarlinkError
from varlink.scanner import Interface

from mailbell.interfaces.listener import LISTENER_INTERFACE
from mailbell.varlink import (
    CALL_LIMIT,
    SERVICE_INTERFACE,
    Decoder,
    MessageTooLong,
    ProtocolError,
    ServiceError,
    decode_reply_untrusted,
    encode_error,
    encode_reply,
    parse_call_untrusted,
)
from mailbell.varlink._message import Call, encode_call

_OURS = Interface(LISTENER_INTERFACE.text)
# The library wants the fields of these errors, and raises a KeyError without them.
_WITH_FIELDS = {
    f"{SERVICE_INTERFACE.name}.{name}"
    for name in ("InterfaceNotFound", "InvalidParameter", "MethodNotFound", "MethodNotImplemented")
}
_FLAGS = ("oneway", "more", "upgrade")


class Connection:
    """Gives the bytes of an input to the library as a socket does."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def recv(self, size: int) -> bytes:
        """Returns the next bytes; none at the end."""
        taken, self._data = self._data[:size], self._data[size:]
        return taken

    def sendall(self, data: bytes) -> None:
        """Sends nothing."""

    def close(self) -> None:
        """Closes nothing."""


def check(data: bytes) -> None:
    """Raises AssertionError when an input breaks the invariant."""
    for message in check_boundaries(data):
        check_call(message)
        check_reply(message)


def check_boundaries(data: bytes) -> list[bytes]:
    """Splits a stream in the three ways, and returns its messages."""
    decoder = Decoder(CALL_LIMIT)
    try:
        messages = decoder.feed_untrusted(data)
    except MessageTooLong as error:
        return list(error.messages)
    assert [len(message) + 1 for message in messages] == varlink_boundaries(data)
    foreign = SimpleClientInterfaceHandler(_OURS, Connection(data))
    for message in messages:
        # After a message without a byte, the library waits for more than it has got already.
        if not message or not is_utf8(message):
            break
        assert next(foreign._next_message()) == message.decode()  # noqa: SLF001  no public name
    return messages


def is_utf8(data: bytes) -> bool:
    """Tells whether bytes are text."""
    with suppress(UnicodeDecodeError):
        return data.decode() is not None
    return False


def value_of(message: bytes) -> Any:
    """Returns a message as Python's JSON reads it; None if it does not."""
    with suppress(ValueError, RecursionError):
        return json.loads(message)
    return None


def without_null(members: Any) -> dict[str, Any]:
    """Leaves out what we take for absent."""
    return {name: each for name, each in members.items() if each is not None}


def check_call(message: bytes) -> None:
    """Compares what a call means."""
    try:
        ours = parse_call_untrusted(message)
    except ProtocolError:
        return
    theirs = foreign_call(without_null(value_of(message)))
    if theirs is not None:
        compare_calls(ours, theirs)
        written = json.dumps(theirs.tojson()).encode()
        compare_calls(parse_call_untrusted(written), theirs)
    again = encode_call(ours.method, ours.parameters, more=ours.more, oneway=ours.oneway)
    assert same(value_of(again.removesuffix(b"\0"))["parameters"], ours.parameters)


def foreign_call(members: dict[str, Any]) -> VarlinkMethodCall | None:
    """Returns the call as asyncvarlink reads it; None: it knows no such name."""
    try:
        return VarlinkMethodCall.fromjson(members)
    except ValueError:  # of a name: ours looks for the name in its tables, and not at its form
        return None


def compare_calls(ours: Call, theirs: VarlinkMethodCall) -> None:
    """Raises AssertionError if a call means something else."""
    assert ours.method == theirs.method
    assert same(ours.parameters, theirs.parameters)
    assert [getattr(ours, flag) for flag in _FLAGS] == [getattr(theirs, flag) for flag in _FLAGS]


def same(one: Any, other: Any) -> bool:
    """Tells whether two JSON values are equal: 1 is another number than True or 1.0."""
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other or (isinstance(one, float) and math.isnan(one)))


def check_reply(message: bytes) -> None:
    """Compares what a reply means, to both libraries."""
    error: ServiceError | None = None
    try:
        reply = decode_reply_untrusted(message)
    except ProtocolError:
        return
    except ServiceError as raised:
        error = raised
    parameters = reply.parameters if error is None else error.parameters
    continues = error is None and reply.continues
    bare = without_null(value_of(message))
    name = None if error is None else error.name
    with suppress(ValueError):  # of the name of an error
        theirs = VarlinkMethodReply.fromjson(bare)
        assert same(theirs.parameters, parameters)
        assert theirs.error == name
        assert error is not None or theirs.continues == continues
    if name not in _WITH_FIELDS:
        wanted = [name, parameters, continues]
        assert same(classic(bare), wanted)
        written = encode_reply(parameters, continues=continues)
        if error is not None:
            written = encode_error(error)
        assert same(classic(value_of(written.removesuffix(b"\0"))), wanted)


def classic(members: Any) -> list[Any]:
    """Returns a reply as the library `varlink` reads it: error, parameters, continues."""
    handler = SimpleClientInterfaceHandler(_OURS, Connection(json.dumps(members).encode() + b"\0"))
    try:
        parameters, continues = handler._next_varlink_message()  # noqa: SLF001  no public name
    except VarlinkError as error:
        return [error.error(), error.parameters(), False]
    return [None, parameters, continues]
