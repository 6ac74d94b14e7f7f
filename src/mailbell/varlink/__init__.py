"""The language of the local sockets: Varlink. This room has no socket and no interface of ours.

A message is one JSON object followed by a NUL byte. All code here is sans-IO: it turns
bytes into typed values, and typed values into bytes. A server reads

    bytes -> Decoder -> parse_call_untrusted -> Service.decode_untrusted -> encode_reply

and meets two exceptions only: `ServiceError` (send it as the answer and go on) and
`ProtocolError` (close the connection). A client uses `Interface.encode` and
`Conversation`.

Source: https://varlink.org/Method-Call and https://varlink.org/Interface-Definition
"""

from mailbell.varlink._codec import CALL_LIMIT, REPLY_LIMIT, Decoder
from mailbell.varlink._errors import (
    SERVICE,
    MessageTooLong,
    ProtocolError,
    ServiceError,
    invalid_parameter,
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
from mailbell.varlink.conversation import Conversation
from mailbell.varlink.interface import Interface, Method, Request
from mailbell.varlink.service import (
    SERVICE_INTERFACE,
    GetInfo,
    GetInfoReply,
    GetInterfaceDescription,
    GetInterfaceDescriptionReply,
    Service,
)

__all__ = [
    "CALL_LIMIT",
    "REPLY_LIMIT",
    "SERVICE",
    "SERVICE_INTERFACE",
    "Call",
    "Conversation",
    "Decoder",
    "GetInfo",
    "GetInfoReply",
    "GetInterfaceDescription",
    "GetInterfaceDescriptionReply",
    "Interface",
    "MessageTooLong",
    "Method",
    "ProtocolError",
    "Reply",
    "Request",
    "Service",
    "ServiceError",
    "decode_reply_untrusted",
    "encode_error",
    "encode_reply",
    "invalid_parameter",
    "parse_call_untrusted",
    "read_parameters_untrusted",
]
