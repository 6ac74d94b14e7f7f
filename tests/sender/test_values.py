"""The values that only the sender's configuration has, each with what to write instead."""

import re

import pytest

from mailbell.core.networks import Address
from mailbell.sender._values import Backoff, Mailbox, OptionalFile, OptionalPath, TargetSetting

NAME = "write a name of 1 to 254 printable characters without spaces, such as anna@example.org"
SOCKET = "write an absolute path of at most 107 bytes such as /run/mailbell/mailbell.sock"
FILE = 'write the absolute path of a file, or ""'
TIMES = 'write two durations from "1s" to "24h", the shorter one first, such as "30s..10m"'
TARGET = (
    'write "last-used", an address or a name, and a port if it is another, such as "192.0.2.7", '
    '"[2001:db8::7]:79" or "laptop.example.net"'
)
WORD = 'write "last-used" in small letters and without a port'
Kind = type[Mailbox | OptionalPath | OptionalFile | Backoff | TargetSetting]
LONGEST = "/" + "x" * 3999


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        (Mailbox, "anna@example.org", "anna@example.org"),
        (OptionalPath, "", ""),
        (OptionalPath, "/run/a", "/run/a"),
        (OptionalFile, "", ""),
        (OptionalFile, "/etc/a", "/etc/a"),
        (OptionalFile, LONGEST, LONGEST),
        (Backoff, "1s..24h", (1.0, 86_400.0)),
        (Backoff, "30s..30s", (30.0, 30.0)),
        (TargetSetting, "last-used", (None, None)),
        (TargetSetting, "192.0.2.7", (Address.parse("192.0.2.7"), None)),
        (TargetSetting, "[2001:db8::7]:80", (Address.parse("2001:db8::7"), 80)),
        (TargetSetting, "[2001:db8::7]", (Address.parse("2001:db8::7"), None)),
        (TargetSetting, "laptop.example.net:80", ("laptop.example.net", 80)),
    ],
)
def test_a_value(kind: Kind, text: str, value: object) -> None:
    found = kind.parse(text)
    assert (found, type(found)) == (value, kind)
    assert str(found) == text


@pytest.mark.parametrize(
    ("kind", "text", "why"),
    [
        (Mailbox, "", NAME),
        (Mailbox, "anna maria", NAME),
        (OptionalPath, "run/a", SOCKET),
        (OptionalFile, "etc/a", FILE),
        (OptionalFile, "/etc/a/", FILE),
        (OptionalFile, "/etc/a\n", FILE),
        (OptionalFile, LONGEST + "x", FILE),
        (Backoff, "30s", TIMES),
        (Backoff, "30s..", TIMES),
        (Backoff, "..30s", TIMES),
        (Backoff, "999ms..30s", TIMES),
        (Backoff, "31s..30s", TIMES),
        (Backoff, "30s..86401s", TIMES),
        (TargetSetting, "", TARGET),
        (TargetSetting, "192.0.2", TARGET),
        (TargetSetting, "Last-Used", WORD),
        (TargetSetting, "last-used:79", WORD),
    ],
)
def test_anything_else_is_refused(kind: Kind, text: str, why: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(why)}$"):
        kind.parse(text)
