"""Inputs that are one value of a configuration: an address, a network, a duration, a URL."""

from typing import Final

from fuzz.grammar import Chars, Expression, Many

__all__ = ["RULES"]

_ANY: Final = bytes(range(256))
_DIGITS: Final = b"0123456789"
_NAME: Final = b"abcxyz019-_"

_COMMON: Final[dict[str, Expression]] = {
    "address": [
        "ipv4",
        "ipv6",
        (b"::ffff:", "ipv4"),
        (b"64:ff9b::", "ipv4"),
        ("ipv6", b"%eth0"),
        Chars(b"0123456789abcdef:.", 0, 20),
    ],
    "ipv4": [b"192.0.2.25", b"0.0.0.0", (Many(("octet", b"."), 3, 3), "octet")],
    "octet": [b"0", b"10", b"127", b"255", b"256", b"01", Chars(_DIGITS, 1, 3)],
    "ipv6": [b"2001:db8::25", b"::", b"::1", (Many(("group", b":"), 7, 7), "group")],
    "group": [b"0", b"ffff", b"2001", Chars(b"0123456789abcdefABCDEF", 1, 4)],
    "length": [b"32", b"0", b"8", b"24", b"96", b"128", b"129", b"033", Chars(_DIGITS, 0, 3)],
    "number": [b"1", b"0", b"10", b"100", b"999999999", Chars(_DIGITS, 0, 10)],
    "duration": ("number", [b"ms", b"s", b"m", b"h", b"d", b"", b"S"]),
    "port": [b"79", b"1", b"65535", b"65536", b"0", b"079", Chars(_DIGITS, 0, 6)],
    "host": [
        "name",
        "ipv4",
        (b"[", "ipv6", b"]"),
        "ipv6",
        (b"[", "address", b"]"),
        Chars(_ANY, 0, 8),
    ],
    "name": [
        b"laptop.example.net",
        (Many((Chars(_NAME, 1, 8), b"."), 0, 4), Chars(_NAME, 1, 8)),
        (Chars(b"x", 60, 66), b".net."),
        Many(b"abcdefghi.", 24, 27),
    ],
    "place": [("host"), ("host", b":", "port")],
    "path": [(b"/", "step"), (b"/", "step", b"/", "step"), (b"/", Many(b"0123456789", 9, 12)), b""],
    "step": [b"run", b"state.db", Chars(b"abc019._- ?#%", 0, 8), Chars(_ANY, 0, 4)],
    "user": [b"", b"mailbell@", (Chars(b"abc:._-", 1, 8), b"@")],
}

# One for each type, in the order of `fuzz.fuzz_values.KINDS`.
_KINDS: Final[tuple[tuple[str, Expression], ...]] = (
    ("address_value", "address"),
    ("network_value", [("address", b"/", "length"), "address"]),
    ("translator", [("address", b"/96"), ("ipv6", b"/", "length"), b"2001:db8:64::/96"]),
    ("endpoint", [("ipv4", b":", "port"), (b"[", "ipv6", b"]:", "port"), "place"]),
    ("a_duration", "duration"),
    ("rate", ("number", b"/", [b"s", b"m", b"h", b"d", b""])),
    ("mode", [b"0660", b"600", (Chars(b"01234567", 2, 5)), b"0o600"]),
    ("socket_path", "path"),
    ("mailbox", [b"anna@example.org", "name", (Chars(_ANY, 0, 12), b"@", "name"), b"a@B@C"]),
    ("optional_path", "path"),
    ("optional_file", ["path", (b"/", Many(b"long/0123456789/", 3, 60), b"x")]),
    ("backoff", [("duration", b"..", "duration"), b"30s..10m", ("duration", b"."), "duration"]),
    ("target", [b"last-used", "place"]),
    ("file_url", [(b"sqlite://", "path"), b"sqlite:///var/lib/mailbell-sender/state.db", "path"]),
    (
        "store_url",
        [
            (b"sqlite://", "path"),
            ([b"redis://", b"rediss://"], "user", "place", [b"", b"/0", (b"/", "length")]),
            (
                [b"redis+sentinel://", b"rediss+sentinel://", b"redis+cluster://"],
                "user", "place", Many((b",", "place"), 0, 3), [b"", b"/mailbell", b"/mailbell/1"],
            ),
            (b"unix://", "user", "path"),
        ],
    ),
    ("agent_backoff", [("duration", b"..", "duration"), b"100ms..24h", "duration"]),
    ("poll", ["duration", b"0", b"1h", b"168h"]),
)  # fmt: skip

RULES: Final[dict[str, dict[str, Expression]]] = {
    "values": {
        "start": [(bytes([place]), name) for place, (name, _) in enumerate(_KINDS)],
        **dict(_KINDS),
        **_COMMON,
    }
}
