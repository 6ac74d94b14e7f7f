"""Inputs in binary form: of name servers, of the kernel, of D-Bus, of a companion, of SQLite."""

import json
import sqlite3
from typing import Any, Final, get_args

import msgspec

from fuzz.grammar import Chars, Expression, Many, Number, Sized, mostly
from mailbell.addon.xpi import IDENTITY, build
from mailbell.cluster import messages
from mailbell.sender import _database

__all__ = ["RULES"]

_ANY: Final = bytes(range(256))
_DIGITS: Final = b"0123456789"

_DNS: Final[dict[str, Expression]] = {
    "start": [
        (b"\0", "header", b"\1a\7example\0\0\1\0\1", "told4", Many("record", 0, 3)),
        (b"\x80", "header", b"\1a\7example\0\0\x1c\0\1", "told6", Many("record", 0, 3)),
        (Number("B", (0x00, 0x80)), "header", "question", Many("record", 0, 5)),
        (b"m", "message"),
    ],
    # Number, flags, questions, answers, authorities, more.
    "header": (
        b"\x12\x34", Number("!H", (0x8180, 0x8183, 0x8182, 0x8380)), b"\0\1",
        mostly(b"\0\1", Number("!H", (0, 2, 3, 65))), Number("!H", (0, 1, 2)), b"\0\0",
    ),
    "question": ("name", Number("!H", (1, 28)), b"\0\1"),
    "name": [
        b"\1a\7example\0", b"\xc0\x0c", (b"\1b", b"\xc0\x0c"), (Many("label", 0, 4), b"\0"),
        b"\xc0\x00", (b"\xc0", Number("B", (0x0C, 0x1A, 0x2A, 0xFF))), Many("label", 0, 40),
    ],
    "label": Sized("B", Chars(b"abcdefA-_0\xff.", 0, 12)),
    "told4": (b"\xc0\x0c\0\1\0\1", "ttl", Sized("!H", Chars(_ANY, 4, 4))),
    "told6": (b"\xc0\x0c\0\x1c\0\1", "ttl", Sized("!H", Chars(_ANY, 16, 16))),
    "record": [
        "told4",
        "told6",
        ("owner", b"\0\1\0\1", "ttl", Sized("!H", Chars(_ANY, 4, 4))),
        ("owner", b"\0\x1c\0\1", "ttl", Sized("!H", (bytes(10), b"\xff\xff", Chars(_ANY, 4, 4)))),
        ("owner", b"\0\5\0\1", "ttl", Sized("!H", "name")),
        ("owner", b"\0\6\0\1", "ttl", Sized("!H", ("name", "name", bytes(16), "ttl"))),
        ("owner", Number("!H", (1, 5, 16, 28, 41)), Number("!H", (1, 3, 255)), "ttl",
         Sized("!H", Chars(_ANY, 0, 20))),
    ],
    "owner": [b"\xc0\x0c", b"\xc0\x0c", "name"],
    "ttl": Number("!I", (0, 30, 3600, 86400, 0x80000000)),
    "message": (
        [b"a.example", b"x", Chars(b"abcXYZ.-_", 1, 12)], b" ", [b"60", b"0", Chars(_DIGITS, 1, 6)],
        b" ", [b"- 192.0.2.7", b"- 192.0.2.7,2001:db8::7", b"not_found ", b"- ", b"x "],
        [b"", b"", Many(b",192.0.2.8", 14, 17)],
    ),
}  # fmt: skip

# `struct nlmsghdr` behind its length: type, flags, sequence, port.
_ROUTE_HEAD: Final = (mostly(b"\2\0", Number("=H", (0, 2, 0x10))), bytes(8))
_NETLINK: Final[dict[str, Expression]] = {
    "start": Many("message", 0, 5),
    "message": mostly(["told", "told_route"], "odd"),
    "told": Sized("=I", (Number("=H", (20, 21)), *_ROUTE_HEAD, "address"), 4),
    "told_route": Sized("=I", (b"\x18\0", *_ROUTE_HEAD, "route"), 4),
    "odd": [
        Sized("=I", (Number("=H", (2,)), *_ROUTE_HEAD, Number("=I", (0, 0xFFFFFFED))), 4),
        Sized("=I", (Number("=H", (3,)), *_ROUTE_HEAD, bytes(4)), 4),
        Sized("=I", (Number("=H", (20, 22, 24, 1)), *_ROUTE_HEAD, Chars(_ANY, 0, 24)), 4),
    ],
    # `struct ifaddrmsg`: family, length, flags, scope, index.
    "address": mostly(
        "own4",
        "own6",
        (Number("B", (0, 2, 10, 99)), Chars(_ANY, 0, 7), Many(("attribute4"), 0, 2)),
    ),
    "own4": (b"\2\x18", Number("B", (0, 0x80, 0x40)), "scope_and_link", Many("attribute4", 0, 4)),
    "own6": (b"\x0a\x40", Number("B", (0, 0x20, 8)), "scope_and_link", Many("attribute6", 0, 4)),
    "scope_and_link": (Number("B", (0, 253, 254)), Number("=I", (1, 2))),
    # `struct rtattr`: its length and type, aligned to four bytes.
    "attribute4": [
        Sized("=H", (Number("=H", (1, 2, 4, 5)), Chars(_ANY, 4, 4)), 2),
        Sized("=H", (Number("=H", (8,)), Number("=I", (0, 0x80, 0x40, 0x20))), 2),
        (Sized("=H", (Number("=H", (3,)), b"eth0\0"), 2), bytes(3)),
    ],
    "attribute6": [
        Sized("=H", (Number("=H", (1, 2, 4, 5)), Chars(_ANY, 16, 16)), 2),
        Sized("=H", (Number("=H", (1, 2)), b"\xfe\x80", bytes(6), Chars(_ANY, 8, 8)), 2),
        Sized("=H", (b"\x08\0", Number("=I", (0, 0x80, 0x40, 0x20))), 2),
    ],
    # `struct rtmsg`: family, length, source, tos, table, protocol, scope, type, flags.
    "route": mostly(["route4", "route6"], Chars(_ANY, 0, 16)),
    "route4": (
        b"\2", mostly(Number("B", (8, 24, 32)), b"\x21"), b"\0\0\xff\2\xfe", Number("B", (2, 3, 4)),
        bytes(4), Many("attribute4", 0, 2),
    ),
    "route6": (
        b"\x0a", mostly(Number("B", (64, 128)), b"\x81"), b"\0\0\xff\2\0", Number("B", (2, 3, 4)),
        bytes(4), Many("attribute6", 0, 2),
    ),
}  # fmt: skip


def _field(code: int, kind: bytes, text: str) -> Expression:
    """Return a field of a header of D-Bus, filled up to eight bytes for the next one."""
    body = text.encode()
    whole = bytes([code, 1]) + kind + b"\0" + len(body).to_bytes(4, "little") + body + b"\0"
    return whole + bytes(-len(whole) % 8)


_FIELDS: Final[list[Expression]] = [
    _field(1, b"o", "/org/freedesktop/login1"),
    _field(2, b"s", "org.freedesktop.login1.Manager"),
    _field(2, b"s", "org.freedesktop.DBus"),
    _field(3, b"s", "PrepareForSleep"),
    _field(3, b"s", "NameOwnerChanged"),
    _field(4, b"s", "org.freedesktop.DBus.Error.NoReply"),
    b"\5\1u\0\1\0\0\0",
    _field(6, b"s", ":1.9"),
    _field(7, b"s", ":1.2"),
    _field(7, b"s", "org.freedesktop.DBus"),
    (b"\7\1s\0", Sized("<I", Chars(_ANY, 0, 8)), Chars(b"\0", 1, 8)),
    Chars(_ANY, 8, 8),
]
_SIGNED: Final[dict[bytes, Expression]] = {
    b"\x08\1g\0\1b\0": (b"\0", Number("<I", (0, 1, 2))),
    b"\x08\1g\0\1s\0": (b"\0", b"\4\0\0\0work\0"),
    b"\x08\1g\0\3sss\0": (bytes(7), b"\4\0\0\0abcd\0\0\0\0\0\0\0\0\0\0\0\0\4\0\0\0:1.2\0"),
    b"\x08\1g\0\0\0": (bytes(2),),
    b"\x08\1g\0\2as\0": (bytes(8), b"\4\0\0\0\0\0\0\0"),
}
_BODIES: Final = (4, 9, 29, 0, 8)
_DBUS: Final[dict[str, Expression]] = {
    "start": (Number("B", (0, 6, 15, 255)), Many("message", 0, 3), [b"", Chars(_ANY, 0, 20)]),
    "message": [
        *(
            (
                b"l", Number("B", (2, 3, 4)), b"\1\1", Number("<I", (length,)), b"\1\0\0\0",
                Sized("<I", (Many("field", 0, 5), signature)), body,
            )
            for (signature, body), length in zip(_SIGNED.items(), _BODIES, strict=True)
        ),
        (
            b"l", Number("B", (2, 4)), b"\1\1", Number("<I", (0,)), Number("<I", (1,)),
            Sized("<I", Many("field", 0, 4)),
        ),
        (b"l\4\1\1", Number("<I", (5000,)), b"\1\0\0\0", Sized("<I", "field"), bytes(250)),
        (b"B", Chars(b"\1\2\3\4", 1, 1), b"\1\1", Number(">I", (0,)), b"\0\0\0\1",
         Sized(">I", b"\5\1u\0\0\0\0\1")),
    ],
    "field": _FIELDS,
}  # fmt: skip


def _msgpack(kind: Any) -> Expression:
    """Return a message of a companion in msgpack: its type, and its fields in their order."""
    fields = msgspec.structs.fields(kind)
    head = bytes([0x90 + 1 + len(fields)])
    name = kind.__name__.encode()
    parts = [_of_field(each.name, str(each.type)) for each in fields]
    return (head, bytes([0xA0 + len(name)]), name, *parts)


def _of_field(name: str, kind: str) -> Expression:
    """Return a value for a field."""
    of_name: dict[str, Expression] = {
        "targets": [b"\x90", (b"\x91", "target")],
        "places": [b"\x90", (b"\x91\x92", "number", [b"\xa3tcp", b"\xa3udp"])],
        "rung": [b"\x90", (b"\x91", "word")],
        "numbers": [b"\x90", (b"\x92", "number", "number")],
        "accounts": [b"\x90", (b"\x91", "word")],
        "nodes": [b"\x90", (b"\x91\x95", "word", b"\xc3", "number", "number", "number")],
        "target": "target",
    }
    if name in of_name:
        return of_name[name]
    plain: Expression = "word" if "str" in kind else "bool" if "bool" in kind else "number"
    return [plain, plain, b"\xc0"] if "None" in kind else plain


_CLUSTER: Final[dict[str, Expression]] = {
    "start": [
        (b"c", [_msgpack(kind) for kind in get_args(messages.FromCompanion)]),
        (b"s", [_msgpack(kind) for kind in get_args(messages.FromSender)]),
        (b"r", Chars(b"0123456789abcdef", 16, 16), b" ", "digits", b" ", "digits", b" ", "time"),
        (b"e", Many(("pair", b"\0"), 0, 5), "pair"),
        (b"c", "value"),
    ],
    "word": [
        Sized("B", b"anna@example.org", 0xA0),
        Sized("B", Chars(_ANY, 0, 20), 0xA0),
        (b"\xd9", Sized("B", Chars(b"abc.@", 0, 60))),
    ],
    "target": [Sized("B", "target_text", 0xA0), (b"\xd9", Sized("B", "target_text"))],
    "target_text": [
        b"address 192.0.2.7 79 tcp", b"name laptop.example.net 79 udp",
        b"address 2001:db8::7 79 tcp", b"name x 0 tcp", (b"name ", Chars(b"a. ", 0, 6), b" 79 tcp"),
    ],
    "number": [
        Number("B", (0, 1, 79, 127)), b"\xcd\x10\0", b"\xcf\0\x1f\xff\xff\xff\xff\xff\xff", b"\xff",
        b"\xcb\x40\x08\0\0\0\0\0\0", b"\xcb\x7f\xf8\0\0\0\0\0\0",
    ],
    "bool": [b"\xc2", b"\xc3"],
    "value": ["word", "number", "bool", b"\xc0", (b"\x92", "value", "value"), b"\x80", b"\xc1"],
    "digits": [b"0", Chars(_DIGITS, 1, 16)],
    "time": [b"0.000", b"1.5", (Chars(_DIGITS, 1, 9), b".", Chars(_DIGITS, 1, 6)), b"nan"],
    "pair": [
        (b"target\0", "target_text"), (b"login\0", "target_text"), (b"account\0", b"anna"),
        (b"ring\0", b"a/1"), (b"since\0", "seconds"), (b"until\0", "seconds"),
        (b"account\0anna\0target\0name x 79 tcp\0ring\0\0since\x00170000000.0\0until\0", "seconds"),
    ],
    "seconds": [b"1700000001.0", b"inf", b"nan", b"1e400", b"-1", Chars(_DIGITS + b".e_-", 1, 12)],
}  # fmt: skip


def _database_of(*statements: str) -> bytes:
    """Return a database of our form in small pages, changed by statements."""
    connection = sqlite3.connect(":memory:", isolation_level=None)
    for statement in ("PRAGMA page_size = 512", *_database.CREATE, *statements):
        connection.execute(statement)
    data = connection.serialize()
    connection.close()
    return data


def _pages(data: bytes) -> Expression:
    """Return a database in parts: its header in fields, and its pages."""
    header = (
        data[:18], mostly(b"\1", b"\2", b"\3"), mostly(b"\1", b"\2", b"\3"), data[20:56],
        mostly(data[56:60], Number(">I", (1, 2, 3))), mostly(data[60:64], b"\0\0\0\2"),
        data[64:68], mostly(data[68:72], bytes(4)), data[72:100],
    )  # fmt: skip
    pages = [data[at : at + 512] for at in range(512, len(data), 512)]
    return (*header, data[100:512], *((page[:16], page[16:]) for page in pages))


_ROW: Final = "INSERT INTO book VALUES ('anna', 1800000000000, zeroblob(24))"
_STORE: Final[dict[str, Expression]] = {
    "start": [
        "report",
        "plain",
        "used",
        "used",
        "wrong",
        b"",
        (b"SQLite format 3\0", Chars(_ANY, 0, 90)),
    ],
    "report": (b"r", "verdict", b"\0", "words", b"\0", "words", [b"", b"\0"]),
    "verdict": [b"good", b"absent", b"corrupt", b"unsafe", b"InternalError", b"locked", "words"],
    "words": [b"it is no database of SQLite", b"", Chars(_ANY, 0, 20), Many(b"long " * 10, 1, 30)],
    "plain": _pages(_database_of()),
    "used": _pages(_database_of(_ROW, "INSERT INTO run VALUES (1)")),
    "wrong": [
        _pages(_database_of("CREATE TABLE more (a)")),
        _pages(_database_of("INSERT INTO book VALUES ('x', 'text', 7)")),
    ],
}


def _add_on(text: bytes) -> Expression:
    """Return an add-on with this manifest, in pieces that begin as the parts of an archive do."""
    data = build({"manifest.json": text, "a.js": b"let a = 1;\n", "b/c.html": b"<p>"}, "1.2")
    pieces = tuple(b"PK" + piece for piece in data.split(b"PK")[1:])
    return [pieces, (*pieces[:3], Chars(_ANY, 0, 30), *pieces[3:]), (*pieces, Chars(_ANY, 1, 4))]


_SETTINGS: Final = {"browser_specific_settings": {"gecko": {"id": IDENTITY}}}
_XPI: Final[dict[str, Expression]] = {
    "start": mostly(
        _add_on(json.dumps(_SETTINGS).encode()),
        _add_on(b'{"version": "1"}'),
        (b"PK\3\4", Chars(_ANY, 26, 60)),
        b"",
    ),
}

RULES: Final[dict[str, dict[str, Expression]]] = {
    "dns": _DNS,
    "rtnetlink": _NETLINK,
    "dbus": _DBUS,
    "cluster": _CLUSTER,
    "store": _STORE,
    "xpi": _XPI,
}
