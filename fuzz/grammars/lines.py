"""Inputs that are lines or words of text: of hooks, of mail servers, of the system."""

from typing import Final

from fuzz.grammar import Chars, Expression, Many, Number
from fuzz.grammars.json_messages import DOVECOT

__all__ = ["RULES"]

_ANY: Final = bytes(range(256))
_PRINTABLE: Final = bytes(range(0x20, 0x7F))
_DIGITS: Final = b"0123456789"

_ACCOUNT: Final[dict[str, Expression]] = {
    "account": [
        b"anna",
        b"anna@example.org",
        (Chars(b"abcxyz019._+-", 1, 8), b"@Example.ORG"),
        "\N{LATIN SMALL LETTER U WITH DIAERESIS}nal".encode(),
        Chars(_PRINTABLE, 1, 20),
    ],
    "folder": [
        b"Junk",
        b"INBOX.Junk/2026",
        b"Sent Items",
        (Chars(_PRINTABLE, 1, 12)),
        b" ",
        Chars(_ANY, 1, 6),
    ],
    "address": [
        b"192.0.2.9",
        b"::ffff:192.0.2.9",
        b"2001:db8::9",
        b"fe80::1%eth0",
        Chars(b"0123456789abcdef:.%", 1, 20),
    ],
    # A variable part for lengths around the limits.
    "long": [Chars(b"x", 1, 40), Many(b"xxxxxxxxxxxxxxxx", 28, 36)],
}

_HOOK_LINE: Final[dict[str, Expression]] = {
    "start": (Number("B", (0, 1, 7, 63)), Many(("line", "end"), 0, 5), ["line", b""]),
    "line": [
        (b"new ", "account"),
        (b"new ", "account", b" ", "folder"),
        (b"seen ", "account", b" ", "address"),
        "event",
        (b"new ", "long"),
        (Chars(_PRINTABLE, 0, 12), b" ", "account"),
    ],
    "end": [b"\n", b"\n", b"\n", b"\r\n", b"\n\n", b"\0\n"],
    "event": DOVECOT["start"],
    **{name: rule for name, rule in DOVECOT.items() if name != "start"},
    **_ACCOUNT,
}

_COMSAT: Final[dict[str, Expression]] = {
    "start": ("account", b"@", "offset", "path", "end"),
    "offset": [(Chars(_DIGITS, 1, 6)), b"-1", Chars(_DIGITS, 19, 22), Chars(_DIGITS + b"-", 0, 3)],
    "path": [b"", (b":", Many((b"/", "part"), 0, 5)), (b":", "folder"), (b":", "long")],
    "part": [
        b"home", b"Maildir", b".Junk", b"new", b"cur", b"tmp", b"1795.3_0.mail", b"msg.Xy", b"17",
        b"..", b"anna", "folder",
    ],
    "end": [b"", b"\0", b"\n\0", b"\n", b"\0\n"],
    **_ACCOUNT,
}  # fmt: skip

_HOOK: Final[dict[str, Expression]] = {
    "start": [
        (b"a", Many(("word", b"\0"), 0, 5), "word", b"\0\0", Many(("variable", b"\0"), 0, 4)),
        (b"h", Many(("field", "newline"), 0, 6), "newline", Chars(_ANY, 0, 8)),
    ],
    "word": [
        "account",
        b"--login",
        b"--unless-spam",
        (b"--account=", "account"),
        (b"--account\0", "account"),
        (b"--folder=", "folder"),
        (b"--folder\0", "folder"),
        b"--socket=/run/mailbell-sender/hook",
        (b"--folder\0--"),
        b"--",
        (b"-", Chars(_PRINTABLE, 0, 8)),
        (b"--account=", "long"),
    ],
    "variable": [
        (b"RECIPIENT=", "account"),
        (b"USER=", "account"),
        (b"LOGNAME=", "account"),
        (b"AUTHENTICATED=", "account"),
        (b"IP=", "address"),
        (b"TCPREMOTEIP=", "address"),
        (b"USER=",),
    ],
    "field": [
        (["b", "c"], b": ", "value"),
        (b"Subject: ", Chars(_PRINTABLE, 0, 12)),
        ([b" ", b"\t"], "value"),
        Chars(_ANY, 0, 8),
    ],
    "b": [b"X-Spam-Flag", b"x-spam-status", b"X-Virus-Status "],
    "c": [b"X-SPAM-FLAG ", b"X-Spam-Flagged"],
    "value": [b"YES", b"Yes, score=9.1", b"INFECTED (x)", b"No", b"", b"  yes"],
    "newline": [b"\n", b"\r\n", b"\r"],
    **_ACCOUNT,
}

_RESOLV: Final[dict[str, Expression]] = {
    "start": [
        (b"r", Many(("server", "newline"), 0, 6)),
        (b"h", Many(("host", "newline"), 0, 6)),
    ],
    "server": [
        (b"nameserver ", "address"),
        (b"nameserver\t", "address", b" # ", Chars(_PRINTABLE, 0, 5)),
        (b"; nameserver ", "address"),
        b"nameserver",
        b"search example.org",
        Chars(_ANY, 0, 10),
    ],
    "host": [
        ("address", Many((b" ", "name"), 0, 5)),
        ("address", b"\t", "name", b" # ", "name"),
        (b"#", "name"),
        ("address", Many(b" a b c d e f g", 0, 5)),
    ],
    "name": [
        b"localhost",
        b"host.example.net",
        b"HOST",
        b"_x-1.a",
        (Chars(b"abcXYZ0-_.", 1, 12)),
        Chars(_ANY, 1, 4),
    ],
    "newline": [b"\n", b"\r\n", b"\x0b", b"\xe2\x80\xa8"],
    **_ACCOUNT,
}

_ACTIVATION: Final[dict[str, Expression]] = {
    "start": ([b"LISTEN_PID=4321\n", b"LISTEN_PID=1\n", b""], Many(("variable", b"\n"), 0, 6)),
    "variable": [
        (b"LISTEN_FDS=", "number"),
        (b"LISTEN_FDNAMES=", "name", Many((b":", "name"), 0, 4)),
        (b"LISTEN_PIDFDID=", "number"),
        (b"WATCHDOG_USEC=", "number"),
        (b"WATCHDOG_PID=", [b"4321", "number"]),
        (b"NOTIFY_SOCKET=", [b"/run/systemd/notify", b"@abstract", "text"]),
        (b"JOURNAL_STREAM=", "number", b":", "number"),
        ("text", b"=", "text"),
    ],
    "number": [
        b"0", b"1", b"2", b"64", b"65", Chars(_DIGITS, 1, 21), (b"-", Chars(_DIGITS, 1, 2)), b"",
        b"\xd9\xa1", b" 1", b"1_0",
    ],
    "name": [b"tcp", b"udp", b"local", b"hook", b"control", "text"],
    "text": [(Chars(_PRINTABLE, 0, 12)), Chars(_ANY, 0, 6), (b"/", Many(b"long/", 20, 30))],
}  # fmt: skip

_STATUS_LINES: Final = (
    b"Uid", b"Gid", b"Groups", b"CapInh", b"CapPrm", b"CapEff", b"CapBnd", b"CapAmb",
    b"NoNewPrivs", b"Seccomp", b"Threads", b"TracerPid",
)  # fmt: skip

_PROC: Final[dict[str, Expression]] = {
    "start": [
        (b"s", b"Name:\t", "word", b"\n", *(line.decode() for line in _STATUS_LINES)),
        (b"s", Many([line.decode() for line in _STATUS_LINES], 0, 14)),
        ([b"p", b"o"], "number", b" (", "word", b") ", "state", Many((b" ", "number"), 17, 52)),
        (b"p", Chars(b"0123456789. /", 0, 20)),
        (b"c", "word", [b"\n", b""]),
        (b"t", b"  sl  local_address\n", Many("row", 0, 5)),
        (b"u", b"Num RefCount\n", Many("unix", 0, 5)),
        (b"n", "number", b" ", "number", b" ", "boot"),
    ],
    **{
        line.decode(): (line, b":\t", "number", Many((b"\t", "number"), 0, 4), b"\n")
        for line in _STATUS_LINES
    },
    "number": [Chars(_DIGITS, 1, 4), b"0" * 16, Chars(_DIGITS + b"abcdef", 16, 16), b"-1"],
    "word": [Chars(_PRINTABLE, 1, 12), b"a) R 1 (b", b"\n", Chars(_ANY, 0, 8)],
    "state": [b"S", b"R", b"Z", b"T", b"X", Chars(_PRINTABLE, 0, 2)],
    "row": (
        b"   0: ", ["local", "text"], b" 00000000:0000 ", [b"0A", b"07", b"01"],
        b" 00000000:00000000 00:00000000 00000000     0        0 ", "number", b" 1\n",
    ),
    "unix": (
        b"0000000000000000: 00000002 00000000 ", [b"00010000", b"00000000", "text"],
        [b" 0001 01 ", b" 0002 03 "], "number", b" ", [b"/run/mailbell.sock", "text"], b"\n",
    ),
    "local": (Chars(b"0123456789ABCDEF", 8, 8), b":", [b"004F", b"0050"]),
    "text": Chars(_ANY, 0, 10),
    "boot": [b"", b"01234567-89ab-cdef-0123-456789abcdef", Chars(b"0123456789abcdef-", 0, 38)],
}  # fmt: skip

_LINES: Final[dict[str, Expression]] = {
    "start": (Number("B", (0, 1, 254, 255)), Number("B", (0, 1, 64, 255)), Many("line", 0, 12)),
    "line": [b"\n", (Chars(_ANY, 0, 20), b"\n"), (Many(b"x" * 64, 1, 17), [b"\n", b""]), b"\r\n"],
}

RULES: Final[dict[str, dict[str, Expression]]] = {
    "hook_line": _HOOK_LINE,
    "comsat": _COMSAT,
    "hook": _HOOK,
    "resolv_conf": _RESOLV,
    "activation": _ACTIVATION,
    "proc": _PROC,
    "lines": _LINES,
}
