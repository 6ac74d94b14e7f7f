"""Inputs that are steps in time: of the limits, and of the questions to name servers."""

from typing import Final

from fuzz.grammar import Chars, Expression, Many, Number

__all__ = ["RULES"]

_ANY: Final = bytes(range(256))

RULES: Final[dict[str, dict[str, Expression]]] = {
    "limiter": {
        "start": ("rate", "burst", "total", Many("step", 0, 40)),
        "rate": Number("B", (0, 1, 2, 3, 4)),
        "burst": Number("B", (0, 1, 5, 11)),
        "total": Number("B", (0, 3, 7)),
        # What is done and how, by which source, after which time.
        "step": [
            ("admit", "source", "wait"),
            ("note", Number("B", (128, 130, 192, 195)), "wait"),
            (Many(("admit", b"\0", b"\0"), 2, 12)),
        ],
        "admit": Number("B", (0, 2, 4, 6, 0x80, 0xE0)),
        "note": Number("B", (1, 3, 5, 7)),
        "source": Number("B", tuple(range(12))),
        "wait": Number("B", (0, 1, 4, 16, 64, 255)),
    },
    "inquiries": {
        "start": (Number("B", (0, 1, 2, 3)), Many("step", 0, 40)),
        # The lowest three bits of a step are how many bytes follow, and its rest by five what it
        # does. So not each length can do everything.
        "step": [
            "time",
            (Number("B", (0x02, 0x0A, 0x13, 0x1B, 0x23, 0x2B)), Chars(_ANY, 0, 3)),
            (Number("B", (0x04, 0x0C, 0x14, 0x1C, 0x24, 0x2C)), "changes", "changes"),
            (b"\3", b"\2\x80", b"\0"),
            (b"\x12", b"\3\x80"),
            (b"\x1a", b"\2\x82"),
        ],
        "time": (
            Number("B", (0x05, 0x41, 0x91)),
            Number("B", (1, 16, 64, 255)),
            Chars(b"\0", 0, 4),
        ),
        "changes": (Number("B", (2, 3, 12, 13, 14)), Number("B", (0x80, 0x81, 0x82, 0x83))),
    },
}
