"""Reads one line of the hook's socket.

    new ACCOUNT [FOLDER]
    seen ACCOUNT ADDRESS

One space stands between two words. A folder may contain spaces. A line that begins with `{` is
an event of Dovecot's exporter.
"""

from typing import Final

from mailbell.sender._dovecot_event import parse_event_untrusted
from mailbell.sender._requests import Malformed, NewMail, Request, read_login

__all__ = ["parse_line_untrusted"]

_NOT_UTF8: Final = Malformed("not UTF-8")
_UNPRINTABLE: Final = Malformed("a character that is not printable")
_UNKNOWN: Final = Malformed("neither new nor seen")
_NEW_FORM: Final = Malformed("not: new ACCOUNT [FOLDER]")


def parse_line_untrusted(line: bytes) -> Request | Malformed:
    """Read one line.

    Args:
        line: without its LF.

    Returns:
        What is asked, or why it is nothing. No bytes raise an exception.
    """
    if line.startswith(b"{"):
        return parse_event_untrusted(line)
    try:
        text = line.decode()
    except UnicodeDecodeError:
        return _NOT_UTF8
    if not text.isprintable():  # NUL, CR and all other controls are among these
        return _UNPRINTABLE
    verb, _, rest = text.partition(" ")
    account, space, more = rest.partition(" ")
    if verb == "seen":
        return read_login(account, more)
    return _new_mail(account, space, more) if verb == "new" else _UNKNOWN


def _new_mail(account: str, space: str, folder: str) -> NewMail | Malformed:
    if not account or (space and (not folder or folder != folder.strip())):
        return _NEW_FORM
    return NewMail(account, folder or None)
