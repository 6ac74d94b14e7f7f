"""Reads the datagrams that Cyrus IMAP sends to its `notifysocket`.

A datagram has fields, each ended by NUL: method, class, priority, user, mailbox, the number of
options, the options, the message. For the class EVENT the message is a JSON object, and says
alone who and where. Two events are of interest: MessageNew in the user's inbox, and Login.

`mailnotifier` sends datagrams of the class MAIL. They are ignored, because they do not say in
which folder the mail is.

Source: https://www.cyrusimap.org/imap/developer/events.html, and datagrams of Cyrus 3.6 and 3.10.
"""

import re
from typing import Final

import msgspec

from mailbell.core.sender_outcome import InputOutcome
from mailbell.sender._requests import IGNORED, Malformed, NewMail, Request, read_login

__all__ = ["MAX_DATAGRAM", "parse_datagram_untrusted"]

MAX_DATAGRAM: Final = 16_384
"""The greatest length of a datagram, in bytes. Cyrus sends at most 8,192."""

_FIELDS: Final = 6  # before the options
_OPTIONS: Final = re.compile(rb"[0-9]{1,2}")
_ESCAPED: Final = re.compile(r"((?:%[0-9A-Fa-f]{2})+)")
# RFC 5092: imap://SERVER/MAILBOX;UIDVALIDITY=...
_URI: Final = re.compile(r"imap://[^/]*/(?P<mailbox>[^;]*)(?:;.*)?", re.ASCII | re.DOTALL)

_TOO_LONG: Final = Malformed(f"over {MAX_DATAGRAM} bytes", InputOutcome.TOO_LONG)
_FORM: Final = Malformed("not a notification of Cyrus")
_JSON: Final = Malformed("not an event in JSON")


class _Event(msgspec.Struct, frozen=True):
    event: str
    user: str = ""
    uri: str = ""
    client: str = msgspec.field(default="", name="clientIP")


# Made here, because nothing can be imported when the first event arrives.
_decoder: Final = msgspec.json.Decoder(_Event)


def parse_datagram_untrusted(data: bytes) -> Request | Malformed:
    """Read one datagram.

    Args:
        data: all of it, or its first `MAX_DATAGRAM` + 1 bytes.

    Returns:
        What is asked, or why it is nothing. No bytes raise an exception.
    """
    if len(data) > MAX_DATAGRAM:
        return _TOO_LONG
    fields = data.split(b"\0")
    # One field more than there are, because the last one ends in NUL too.
    if len(fields) < _FIELDS or not _OPTIONS.fullmatch(fields[5]):
        return _FORM
    if len(fields) != _FIELDS + int(fields[5]) + 2 or fields[-1]:
        return _FORM
    return _parse_event(fields[-2]) if fields[1] == b"EVENT" else IGNORED


def _parse_event(message: bytes) -> Request | Malformed:
    try:
        message.decode()  # msgspec reads strings only where their value is needed
        event = _decoder.decode(message)
    except (msgspec.DecodeError, ValueError, RecursionError):
        # Before msgspec 0.21, DecodeError is no subclass of ValueError.
        return _JSON
    if event.event == "MessageNew":
        return _new_mail(event)
    if event.event == "Login":
        return read_login(event.user, event.client)
    return IGNORED


def _new_mail(event: _Event) -> Request | Malformed:
    found = _URI.fullmatch(event.uri)
    if found is None or not event.user:
        return Malformed("new mail without a user or a mailbox")
    # Only the inbox rings. Mail that a script files elsewhere does not.
    return NewMail(event.user) if _unescape(found["mailbox"]) in _inboxes(event.user) else IGNORED


def _unescape(text: str) -> str:
    """Undo the escapes of a URI. Bytes that are not UTF-8 name no inbox of ours."""
    parts = _ESCAPED.split(text)
    parts[1::2] = [
        bytes.fromhex(part.replace("%", "")).decode(errors="replace") for part in parts[1::2]
    ]
    return "".join(parts)


def _inboxes(user: str) -> frozenset[str]:
    """Return the names that Cyrus may have for a user's inbox.

    They differ with `unixhierarchysep` and `virtdomains`. Inside Cyrus a dot in a user's name is
    written as `^`, because the dot separates folders.
    """
    local, at, domain = user.partition("@")
    inside = local.replace(".", "^")
    return frozenset(
        {
            f"user.{user}",
            f"user/{user}",
            f"user.{inside}{at}{domain}",
            f"{domain}!user.{inside}" if at else f"user.{inside}",
        }
    )
