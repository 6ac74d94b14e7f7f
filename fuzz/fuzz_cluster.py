"""Any bytes of the companion for a cluster, and any entry of an inbox, are a message or nothing.

The first byte says which: a message of the companion, one of the sender, or an entry, whose fields
stand between zeros. The bytes of an entry are what any other node, or an intruder in the engine,
has written.
"""

import math

from mailbell.cluster import messages as m
from mailbell.cluster.inbox import read
from mailbell.cluster.report import Report

NOW = 1_700_000_000.0


def check(data: bytes) -> None:
    """Raises AssertionError when an input breaks the invariant."""
    kind, rest = data[:1], data[1:]
    if kind == b"c":
        check_companion(rest)
    elif kind == b"s":
        check_sender(rest)
    elif kind == b"r":
        check_report(rest.decode("utf-8", "replace"))
    else:
        check_entry(rest)


def check_companion(data: bytes) -> None:
    """Checks a message that the sender reads."""
    message = m.decode_from_companion(data)
    if message is None:
        return
    assert m.decode_from_companion(m.encode(message)) == message
    assert len(m.encode(message)) <= m.MAX_MESSAGE
    if isinstance(message, m.Call):
        assert message.left is None or 0 <= message.left <= 7 * 86_400
        target = m.read_target(message.target)
        assert target is None or m.write_target(target) == message.target


def check_sender(data: bytes) -> None:
    """Checks a message that the companion reads."""
    message = m.decode_from_sender(data)
    if message is not None:
        assert m.decode_from_sender(m.encode(message)) == message


def check_report(text: str) -> None:
    """Checks what a node says of itself."""
    report = Report.parse(text)
    if report is not None:
        assert 0 <= report.lag < math.inf
        assert Report.parse(str(report)) is not None


def check_entry(data: bytes) -> None:
    """Checks an entry of an inbox: what arrives can be said to the sender."""
    parts = [part.decode("utf-8", "replace") for part in data.split(b"\0")]
    arrived = read(dict(zip(parts[::2], parts[1::2], strict=False)), NOW, 1800.0)
    if arrived is None:
        return
    assert 0 <= arrived.waited < math.inf
    assert m.decode_from_companion(m.encode(arrived.message)) == arrived.message
