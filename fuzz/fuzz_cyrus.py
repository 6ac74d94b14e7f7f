"""A datagram of Cyrus rings for new mail in the user's own inbox only; any bytes have an answer.

A model reads the fields and the JSON object in another way.
"""

import json
from urllib.parse import unquote

from mailbell.core.sender_outcome import InputOutcome
from mailbell.sender._cyrus_event import MAX_DATAGRAM, parse_datagram_untrusted
from mailbell.sender._requests import Ignored, Malformed, NewMail, Seen


def read(data: bytes) -> tuple[bytes, bytes] | None:
    """Returns the class and the message of a datagram; None: it has another form."""
    if not data.endswith(b"\0"):
        return None
    fields = data[:-1].split(b"\0")
    count = fields[5] if len(fields) > 5 else b""
    if not 0 < len(count) <= 2 or not set(count) <= set(b"0123456789"):
        return None
    return (fields[1], fields[-1]) if len(fields) == 7 + int(count) else None


def is_inbox(mailbox: str, user: str) -> bool:
    """Tells whether a mailbox is a user's inbox, in one of the ways that Cyrus writes it."""
    name = unquote(mailbox)
    if "!" in name:
        domain, _, rest = name.partition("!")
        name = f"{rest}@{domain}"
    same = name[5:] == user or name[5:].replace("^", ".") == user.replace("^", ".")
    return name[:5] in {"user.", "user/"} and same


def check(data: bytes) -> None:
    """Raises AssertionError when an input breaks the invariant."""
    found = parse_datagram_untrusted(data)
    parts = read(data)
    if isinstance(found, Malformed):
        assert (found.outcome is InputOutcome.TOO_LONG) is (len(data) > MAX_DATAGRAM)
        assert parts is None or parts[0] == b"EVENT" or len(data) > MAX_DATAGRAM
        return
    assert parts is not None
    kind, message = parts
    if isinstance(found, Ignored):
        return
    assert kind == b"EVENT"
    # Python refuses integers of more than 4,300 digits.
    event = json.loads(message, parse_int=float)
    assert event["user"] == found.account != ""
    if isinstance(found, Seen):
        assert event["event"] == "Login"
        assert event["clientIP"]
        return
    assert event["event"] == "MessageNew"
    assert found == NewMail(event["user"])
    assert is_inbox(event["uri"].split("/", 3)[3].split(";")[0], found.account)
