"""Inputs in JSON: calls and replies of Varlink, events of Dovecot and of Cyrus.

The members of a message are those of the type that reads it. So a field that is new is in the
grammar without a change here.
"""

import dataclasses
import types
from collections.abc import Iterator, Mapping, Sequence
from enum import Enum
from typing import Any, Final, Literal, Union, get_args, get_origin

import msgspec

from fuzz.grammar import Chars, Expression, Many, Number, mostly
from mailbell.interfaces import listener, sender
from mailbell.interfaces.listener import LISTENER_INTERFACE
from mailbell.interfaces.sender import SENDER_INTERFACE
from mailbell.varlink import SERVICE_INTERFACE
from mailbell.varlink.interface import Interface

__all__ = ["DOVECOT", "RULES"]

_ANY: Final = bytes(range(256))
_PRINTABLE: Final = bytes(set(range(0x20, 0x7F)) - set(b'"\\'))

_VALUES: Final[dict[str, Expression]] = {
    "value": ["text", "number", "true", "null", "array", "object", "deep"],
    "text": [
        b'"work"',
        b'""',
        (b'"', Chars(_PRINTABLE, 0, 16), b'"'),
        (b'"', "escape", "escape", b'"'),
        (b'"', Chars(_ANY, 1, 6), b'"'),
        (b'"', Many(b"long/0123456789/", 4, 20), b'"'),
    ],
    "escape": [b"\\n", b"\\u0000", b"\\ud800", b"\\udbff\\udfff", b"\\\\", b'\\"', b"\\u00e9"],
    "number": [
        b"0", b"7", b"-1", b"1.5", b"1e3", b"-0", b"9223372036854775807", b"9223372036854775808",
        b"-9223372036854775809", b"1e999", b"01", Chars(b"0123456789", 1, 12),
    ],
    "count": [b"0", b"7", b"64", b"-1", b"9223372036854775807", Chars(b"123456789", 1, 6)],
    "float": [b"0", b"1.5", b"12", b"-1.5", b"1e300", b"1e-9"],
    "true": [b"true", b"false"],
    "null": b"null",
    "array": [b"[]", (b"[", "value", b"]"), (b"[", "value", b",", "value", b"]")],
    "object": [
        b"{}",
        (b'{"a":', "value", b"}"),
        (b'{"a":', "value", b',"a":', "value", b"}"),
        (b"{", "text", b":", "value", b",", "text", b":", "value", b"}"),
    ],
    "deep": [(Many(b"[", 1, 18), "value", Many(b"]", 1, 18)), (b'{"a":{"a":', "value", b"}}")],
    "space": [b"", b"", b"", b" ", b"\n\t"],
}  # fmt: skip

# Texts that mean something in a field of this name, in any type.
_TEXTS: Final[dict[str, tuple[bytes, ...]]] = {
    "account": (b"work", b"home", b"nobody", b"anna@example.org"),
    "address": (b"192.0.2.9", b"2001:db8::9", b"::ffff:192.0.2.9", b"192.0.2"),
    "after": (b"0123456789abcdef",),
    "epoch": (b"0123456789abcdef", b"x", b"a b"),
    "interface": (b"org.mailbell.Listener", b"org.varlink.service"),
    "source": (b"192.0.2.25", b"2001:db8::1%eth0", b"?"),
    "target": (b"192.0.2.7:79", b"laptop.example.net:79/udp"),
    "name": (b"work", b"anna@example.org", b"node-1"),
    "accounts": (b"work", b"home"),
}


def _texts(name: str) -> Expression:
    samples = [b'"' + text + b'"' for text in _TEXTS.get(name, (b"work",))]
    return [*samples, "text"]


def _members(pairs: Sequence[tuple[str, Expression, bool]]) -> Expression:
    """Return an object: each member that may be absent is so now and then."""
    parts: list[Expression] = []
    for place, (name, value, required) in enumerate(pairs):
        member: Expression = (b"," if place else b"", f'"{name}":'.encode(), value)
        parts.append(member if required or not place else [member, member, b""])
    return (b"{", *parts, b"}")


def of_type(kind: Any, name: str = "") -> Expression:
    """Returns JSON that a type is read of, with a wrong value now and then.

    Args:
        kind: a type, as msgspec takes it.
        name: of the field that has it.
    """
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in {Union, types.UnionType}:
        return [of_type(each, name) for each in arguments]
    if origin is Literal:
        return [f'"{each}"'.encode() for each in arguments]
    if origin in {tuple, frozenset, list}:
        one = of_type(arguments[0], name)
        return [b"[]", (b"[", one, b"]"), (b"[", one, b",", one, b"]")]
    if origin in {dict, Mapping}:
        return [b"{}", (b'{"work":', of_type(arguments[1], name), b"}")]
    return _of_class(kind, name)


def _of_class(kind: Any, name: str) -> Expression:
    if isinstance(kind, type) and issubclass(kind, Enum):
        return [f'"{each.value}"'.encode() for each in kind]
    if fields := [*_fields(kind)]:
        return _members([(field, of_type(each, field), needed) for field, each, needed in fields])
    plain: dict[Any, Expression] = {
        str: _texts(name), int: "count", float: "float", bool: "true", types.NoneType: "null",
    }  # fmt: skip
    return plain.get(kind, "value")


def _fields(kind: Any) -> Iterator[tuple[str, Any, bool]]:
    """Yield the fields of a record: name, type, whether it must be there."""
    if dataclasses.is_dataclass(kind):
        for field in dataclasses.fields(kind):
            yield field.name, field.type, field.default is dataclasses.MISSING
    elif isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        for each in msgspec.structs.fields(kind):
            yield each.encode_name, each.type, each.required


def _calls(interfaces: Sequence[Interface]) -> list[Expression]:
    """Return a call of each method, as its interface declares it."""
    found: list[Expression] = []
    for interface in interfaces:
        for name, method in interface.methods.items():
            flag = b',"more":true' if method.more else b""
            found.append(
                (
                    f'{{"method":"{interface.name}.{name}","parameters":'.encode(),
                    of_type(method.kind),
                    [flag, flag, "flag"],
                    b"}",
                )
            )
    return found


def _replies(kinds: Sequence[type]) -> list[Expression]:
    return [
        (b'{"parameters":', of_type(kind), [b"", b',"continues":true', "flag"], b"}")
        for kind in kinds
    ]


_INTERFACES: Final = (LISTENER_INTERFACE, SENDER_INTERFACE, SERVICE_INTERFACE)
_STREAMED: Final = (listener.SubscribeReply, sender.WatchReply)
_SINGLE: Final = (
    listener.NotifyReply, listener.GetStatusReply, sender.RingReply, sender.SeenReply,
    sender.ExplainReply, sender.GetStatusReply,
)  # fmt: skip

_ERRORS: Final[Expression] = [
    (f'{{"error":"{interface}.{name}","parameters":'.encode(), "parameters", b"}")
    for interface, names in (
        (LISTENER_INTERFACE.name, ("UnknownAccount", "TooManySubscribers", "TooFast")),
        (SENDER_INTERFACE.name, ("UnknownAccount", "NotAccepted", "TooManyWatchers", "TooFast")),
        (SERVICE_INTERFACE.name, ("MethodNotFound", "InvalidParameter", "ExpectedMore", "Other")),
    )
    for name in names
]
_ERROR_RULES: Final[dict[str, Expression]] = {
    "error": _ERRORS,
    "parameters": [
        b"{}",
        (b'{"account":', [b'"work"', b'"home"', "value"], b"}"),
        (b'{"limit":', "value", b"}"),
        (b'{"outcome":', [b'"disabled"', b'"malformed"', b'"rate_limited"', "value"], b"}"),
        (b'{"parameter":', "value", b"}"),
        "object",
    ],
    "flag": [
        b"", b',"oneway":true', b',"more":true', b',"upgrade":true', b',"more":null',
        b',"continues":true', b',"continues":false', (b",", "text", b":", "value"),
    ],
}  # fmt: skip

_CALL_RULES: Final[dict[str, Expression]] = {
    "call": [
        *_calls(_INTERFACES),
        (b'{"method":', "text", b',"parameters":', "object", "flag", b"}"),
    ],
    **_ERROR_RULES,
    **_VALUES,
}

DOVECOT: Final[dict[str, Expression]] = {
    "start": (
        b'{"event":"',
        [b"mail_delivery_finished", b"sieve_action_finished", b"auth_request_finished", b"x"],
        b'","fields":{"a":1',
        Many((b",", "event_field"), 0, 6),
        [b"}}", b'},"event":"x"}', b"}"],
    ),
    "event_field": [
        (b'"user":', [b'"anna@example.org"', "value"]),
        (b'"fileinto_mailbox_name":', [b'"Junk"', "value"]),
        (b'"error":', "value"),
        (b'"success":', [b'"yes"', b"true", "value"]),
        (b'"remote_ip":', [b'"192.0.2.9"', b'"::ffff:192.0.2.9"', "value"]),
        (b'"protocol":', [b'"imap"', b'"pop3"', b'"smtp"', "value"]),
        (b'"service":', [b'"imap"', "value"]),
        (b'"master_user":', "value"),
    ],
    **_VALUES,
}
"""One event of Dovecot's exporter."""

_CYRUS: Final[dict[str, Expression]] = {
    "start": (
        b"notifyd\0", [b"EVENT", b"MAIL", b"x"], b"\0\0anna\0INBOX\0",
        mostly(b"0\0", b"1\0option\0", b"7\0"), "event", mostly(b"\0", b"\0\0", b""),
    ),
    "event": (
        b'{"event":', mostly([b'"MessageNew"', b'"Login"', b'"MessageRead"'], "value"),
        Many((b",", "member"), 1, 4), b"}",
    ),
    "member": [
        (b'"user":', mostly([b'"anna"', b'"anna@example.org"', b'"a.b"'], "value")),
        (b'"uri":"imap://mail.example.org/', "mailbox", [b'"', b';UIDVALIDITY=1/;UID=2"']),
        (b'"clientIP":', mostly([b'"192.0.2.9"', b'"::ffff:192.0.2.9"'], "value")),
        (b'"user":"anna","uri":', mostly(b'"imap://mail.example.org/user.anna"', "value")),
    ],
    "mailbox": [
        b"user.anna", b"user/anna", b"user.a%5Eb", b"user.a^b", b"example.org!user.anna",
        b"user.anna.Junk", b"user%2eanna", b"user.anna@example.org", Chars(b"aenrsu./%5E!@", 0, 16),
    ],
    **_VALUES,
}  # fmt: skip

_CUT: Final = Number("B", (0, 1, 7, 255))

RULES: Final[dict[str, dict[str, Expression]]] = {
    "varlink": {
        "start": (_CUT, Many((["call", "call", "error", "value"], b"\0"), 0, 3), [b"", "call"]),
        **_CALL_RULES,
    },
    "varlink_foreign": {
        "start": Many((["call", "error", "reply", "value"], b"\0"), 1, 3),
        "reply": _replies((*_STREAMED, *_SINGLE)),
        **_CALL_RULES,
    },
    "client": {
        "start": [
            (Number("B", (place,)), _CUT, Many(([reply, reply, "error"], b"\0"), 1, 4), "more")
            for place, reply in enumerate(_replies((*_STREAMED, *_SINGLE)))
        ],
        "more": [b"", b"\xff", ("error", b"\0"), ("value", b"\0")],
        **_ERROR_RULES,
        **_VALUES,
    },
    "cyrus": _CYRUS,
}
