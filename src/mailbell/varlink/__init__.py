"""The language of the local socket: Varlink, without a socket.

A message is one JSON object followed by a NUL byte. Everything here is sans-IO:
bytes in, typed values out, and back. The server's part reads

    bytes -> Decoder -> parse_call_untrusted -> decode_method_untrusted -> encode_reply

and meets two exceptions only: `ServiceError` (answer it, go on) and
`ProtocolError` (close the connection).

Source: https://varlink.org/Method-Call and https://varlink.org/Interface-Definition
"""

from mailbell.varlink._codec import CALL_LIMIT, REPLY_LIMIT, Decoder
from mailbell.varlink._errors import (
    MessageTooLong,
    ProtocolError,
    ServiceError,
    too_many_subscribers,
    unknown_account,
)
from mailbell.varlink._message import (
    Call,
    Reply,
    decode_reply_untrusted,
    encode_error,
    encode_reply,
    parse_call_untrusted,
    read_parameters_untrusted,
)
from mailbell.varlink._methods import Method, decode_method_untrusted, encode_method
from mailbell.varlink._names import LISTENER, SERVICE
from mailbell.varlink.interfaces import describe, service_information
from mailbell.varlink.types import (
    GetInfo,
    GetInfoReply,
    GetInterfaceDescription,
    GetInterfaceDescriptionReply,
    GetStatus,
    GetStatusReply,
    Notify,
    NotifyReply,
    Subscribe,
    SubscribeReply,
)

__all__ = [
    "CALL_LIMIT",
    "LISTENER",
    "REPLY_LIMIT",
    "SERVICE",
    "Call",
    "Decoder",
    "GetInfo",
    "GetInfoReply",
    "GetInterfaceDescription",
    "GetInterfaceDescriptionReply",
    "GetStatus",
    "GetStatusReply",
    "MessageTooLong",
    "Method",
    "Notify",
    "NotifyReply",
    "ProtocolError",
    "Reply",
    "ServiceError",
    "Subscribe",
    "SubscribeReply",
    "decode_method_untrusted",
    "decode_reply_untrusted",
    "describe",
    "encode_error",
    "encode_method",
    "encode_reply",
    "parse_call_untrusted",
    "read_parameters_untrusted",
    "service_information",
    "too_many_subscribers",
    "unknown_account",
]
