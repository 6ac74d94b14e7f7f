"""Inputs of the network: the line of RFC 4146, and packets that the kernel's filters see."""

from typing import Final

from fuzz.grammar import Chars, Expression, Number
from mailbell.core.rfc4146 import LINES

__all__ = ["RULES"]

ANY: Final = bytes(range(256))
PRINTABLE: Final = bytes(range(0x20, 0x7F))

_LINE: Final[dict[str, Expression]] = {
    "line": [*LINES.values(), ("near", "end"), "finger", ("line", Chars(ANY, 1, 4))],
    "near": [
        b"nm_notifyuser",
        b"nmnotifyuser",
        b"NM_NOTIFYUSER",
        (b"nm_", Chars(b"notifyuser", 0, 10)),
        Chars(ANY, 0, 17),
    ],
    "end": [b"\r\n", b"\n", b"\r", b"\r\r\n", b"\n\r", b" \r\n", b"\0", b""],
    "finger": [
        (b"/W ", Chars(PRINTABLE, 0, 12), b"\r\n"),
        (Chars(PRINTABLE, 0, 15), b"\r\n"),
        (b"/W", Chars(b" ", 0, 3), b"\r\n"),
    ],
}

_PACKET: Final[dict[str, Expression]] = {
    # Terminators, family, an own translator, near a listed network: fuzz_packet_filter.
    "start": [
        (Number("B", (0x00, 0x01, 0x07, 0x27)), "networks4", b"", "address4", "line"),
        (Number("B", (0x08, 0x09, 0x0F, 0x2F)), "networks6", b"", "address6", "line"),
        (Number("B", (0x18, 0x1F, 0x3F)), "networks6", Chars(ANY, 12, 12), "address6", "line"),
    ],
    "networks4": [b"\0", (b"\1", "network"), (b"\2", "network", "network")],
    "networks6": [b"\0", (b"\1", "network"), (b"\3", "network", "network", "network")],
    "network": [
        (Number("B", (0, 1, 8, 12, 16, 24, 31, 32)), "address4"),
        (Number("B", (0x80, 0x88, 0x90, 0x98, 0x9F, 0xA0)), "address6"),
    ],
    "address4": [
        b"\xc0\0\2\x19",
        b"\x0a\0\0\1",
        b"\x7f\0\0\1",
        b"\xac\x10\0\0",
        b"\xe0\0\0\1",
        Chars(ANY, 4, 4),
    ],
    "address6": [
        (b"\x20\1\x0d\xb8", bytes(11), Chars(ANY, 1, 1)),
        (b"\0\x64\xff\x9b", bytes(8), "address4"),
        (bytes(12), "address4"),
        Chars(ANY, 16, 16),
    ],
    **_LINE,
}

RULES: Final[dict[str, dict[str, Expression]]] = {
    # The terminators and the end, then how it is cut.
    "stream": {"start": (Number("B", (1, 3, 7, 15, 23)), Chars(ANY, 1, 1), "line"), **_LINE},
    "datagram": {"start": (Number("B", (0, 1, 2, 4, 7)), "line"), **_LINE},
    "grammar_regex": {
        "start": (
            Number("B", (0, 1, 2, 4, 7)),
            Number("B", (0, 1, 2, 3)),
            Chars(ANY, 1, 1),
            "line",
        ),
        **_LINE,
    },
    "packet_filter": _PACKET,
}
