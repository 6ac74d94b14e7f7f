r"""A biff datagram is malformed, or its account and its folder stand in it as they are.

It is ACCOUNT@OFFSET[:FOLDER], with or without \n and NUL at its end.
"""

from mailbell.core.sender_outcome import InputOutcome
from mailbell.sender._comsat import MAX_DATAGRAM, parse_datagram_untrusted
from mailbell.sender._requests import Malformed

_DIGITS = frozenset("0123456789")


def is_offset(text: str) -> bool:
    """Tells whether a text is a decimal number of at most 20 digits."""
    digits = text.removeprefix("-")
    return 0 < len(digits) <= 20 and set(digits) <= _DIGITS


def split(text: str) -> tuple[str, str] | None:
    """Returns the shortest account and what follows its offset, in the slow and obvious way."""
    for place, character in enumerate(text):
        head, colon, path = text[place + 1 :].partition(":")
        if character == "@" and place and is_offset(head):
            return text[:place], path if colon else ""
    return None


def check(data: bytes) -> None:
    """Raises AssertionError when an input breaks the invariant."""
    found = parse_datagram_untrusted(data)
    whole = data.removesuffix(b"\0").removesuffix(b"\n").decode(errors="replace")
    parts = split(whole)
    if isinstance(found, Malformed):
        too_long = found.outcome is InputOutcome.TOO_LONG
        assert too_long is (len(data) > MAX_DATAGRAM)
        valid = whole.isprintable() and "\ufffd" not in whole
        assert too_long or not valid or parts is None or " " in parts[0]
        return
    assert parts is not None
    assert found.account == parts[0]
    assert found.folder is None or found.folder in parts[1].split("/")
    assert not set(found.account) & set(" \0\n")
