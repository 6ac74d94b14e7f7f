"""Calls and replies: the envelope around a method's parameters."""

from typing import Any, TypeVar

import msgspec

from mailbell.varlink._errors import ProtocolError, ServiceError
from mailbell.varlink._json import decode_object_untrusted

__all__ = [
    "Call",
    "Reply",
    "decode_reply_untrusted",
    "encode_call",
    "encode_error",
    "encode_reply",
    "parse_call_untrusted",
    "read_parameters_untrusted",
]

_T = TypeVar("_T")
_encoder = msgspec.json.Encoder()


class Call(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a client asks for.

    Attributes:
        method: the fully qualified name, as the peer sent it.
        parameters: not yet checked.
        oneway: no reply may be sent, not even an error.
        more: the caller accepts more than one reply.
        upgrade: the caller wants to speak another protocol afterwards.
    """

    method: str
    parameters: dict[str, Any] = {}
    oneway: bool = False
    more: bool = False
    upgrade: bool = False


class Reply(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a service answers.

    Attributes:
        parameters: not yet checked.
        continues: another reply to the same call follows.
        error: the fully qualified name of the error; None: the call succeeded.
    """

    parameters: dict[str, Any] = {}
    continues: bool = False
    error: str | None = None


class _Envelope(msgspec.Struct, frozen=True, omit_defaults=True):
    parameters: Any
    continues: bool = False
    error: str | None = None


def parse_call_untrusted(message: bytes) -> Call:
    """Read one call.

    Unknown members of the envelope are ignored, as other services do, because Varlink
    grows by new members. A null member counts as absent, because some clients write
    their defaults so.

    Args:
        message: the message without its NUL.

    Returns:
        The call. Its parameters are not yet checked.

    Raises:
        ProtocolError: the message is not a call.
    """
    call = _read_untrusted(message, Call)
    if call.oneway and (call.more or call.upgrade):
        raise ProtocolError("a call that wants no reply and also many")
    return call


def decode_reply_untrusted(message: bytes) -> Reply:
    """Read one reply.

    Args:
        message: the message without its NUL.

    Returns:
        The reply. Its parameters are not yet checked.

    Raises:
        ProtocolError: the message is not a reply.
        ServiceError: the reply is an error.
    """
    reply = _read_untrusted(message, Reply)
    if reply.error is not None:
        raise ServiceError(reply.error, reply.parameters)
    return reply


def read_parameters_untrusted(reply: Reply, kind: type[_T]) -> _T:
    """Give the parameters of a reply their type.

    Unknown members are ignored, because the daemon may be newer than the client.

    Args:
        reply: as `decode_reply_untrusted` gave it.
        kind: the type of the answer, one of the interface's `...Reply` types.

    Returns:
        The parameters.

    Raises:
        ProtocolError: a member is missing or has a wrong type.
    """
    return _convert_untrusted(reply.parameters, kind)


def encode_call(
    method: str, parameters: object, *, more: bool = False, oneway: bool = False
) -> bytes:
    """Write one call, its NUL included; `Interface.encode` is the typed form.

    Args:
        method: the fully qualified name.
        parameters: anything that msgspec writes as an object.
        more: ask for more than one reply.
        oneway: ask for no reply.

    Returns:
        The bytes to send.
    """
    call = {"method": method, "parameters": parameters}
    flags = {"more": more, "oneway": oneway}
    return _encode(call | {name: True for name, wanted in flags.items() if wanted})


def encode_reply(parameters: object, *, continues: bool = False) -> bytes:
    """Write one reply, its NUL included.

    Args:
        parameters: one of the interface's `...Reply` types.
        continues: another reply to the same call will follow.

    Returns:
        The bytes to send.
    """
    return _encode(_Envelope(parameters, continues))


def encode_error(error: ServiceError) -> bytes:
    """Write one error reply, its NUL included.

    Args:
        error: the error to report.

    Returns:
        The bytes to send.
    """
    return _encode(_Envelope(error.parameters, error=error.name))


def _encode(message: object) -> bytes:
    # JSON writes a NUL inside a string as \u0000, so the last byte is the only NUL.
    return _encoder.encode(message) + b"\0"


def _read_untrusted(message: bytes, kind: type[_T]) -> _T:
    members = decode_object_untrusted(message)
    given = {name: value for name, value in members.items() if value is not None}
    return _convert_untrusted(given, kind)


def _convert_untrusted(value: object, kind: type[_T]) -> _T:
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError:
        # msgspec's text can quote the peer. Our text never does.
        raise ProtocolError(f"a {kind.__name__} with a member missing or of a wrong type") from None
