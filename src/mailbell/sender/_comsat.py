r"""Reads biff datagrams, which mail servers send to comsat(8) when they have delivered mail.

    ACCOUNT@OFFSET[:FOLDER]

The servers differ in the details: Postfix sends `bob@498\0`, Exim `bob@522\n\0` or `bob@-1\n\0`,
procmail `alice@0:/home/alice/Maildir/.Junk/new/1795.3_0.mail` without an end. So the folder is not
always the last part of procmail's path: the message may be.
"""

import re
from typing import Final

from mailbell.core.sender_outcome import InputOutcome
from mailbell.sender._requests import Malformed, NewMail

__all__ = ["MAX_DATAGRAM", "parse_datagram_untrusted"]

MAX_DATAGRAM: Final = 512
"""The greatest length of a datagram, in bytes."""

# The account is as short as possible: a path may contain `@`, and so may an account.
_DATAGRAM: Final = re.compile(r"(?P<account>[^ ]+?)@-?[0-9]{1,20}(?::(?P<path>.*))?", re.ASCII)
# maildir(5): mail is in one of these within the folder.
_WITHIN_MAILDIR: Final = frozenset({"cur", "new", "tmp"})
# procmail(1), procmailrc(5): the file of one message in an MH folder, and in another folder.
_MESSAGE: Final = re.compile(r"[0-9]+|msg\..+", re.ASCII)

_TOO_LONG: Final = Malformed(f"over {MAX_DATAGRAM} bytes", InputOutcome.TOO_LONG)
_NOT_UTF8: Final = Malformed("not UTF-8")
_FORM: Final = Malformed("not: ACCOUNT@OFFSET[:FOLDER]")


def parse_datagram_untrusted(data: bytes) -> NewMail | Malformed:
    """Read one datagram.

    Args:
        data: all of it, or its first `MAX_DATAGRAM` + 1 bytes.

    Returns:
        For which account mail has arrived, or why it is nothing. No bytes raise an exception.
    """
    if len(data) > MAX_DATAGRAM:
        return _TOO_LONG
    try:
        text = data.removesuffix(b"\0").removesuffix(b"\n").decode()
    except UnicodeDecodeError:
        return _NOT_UTF8
    found = _DATAGRAM.fullmatch(text)
    if found is None or not text.isprintable():
        return _FORM
    account = found["account"]
    return NewMail(account, _folder(found["path"] or "", account))


def _folder(path: str, account: str) -> str | None:
    """Return the folder that a path means; None: the inbox, or the path does not say.

    Only the end of a path names a folder. Its beginning names folders of the machine: mail for a
    user named "sent" is in /home/sent.
    """
    parts = [part for part in path.split("/") if part.strip(".")]
    if len(parts) > 1 and parts[-1] != account and _is_message(*parts[-2:]):
        parts.pop()
    if parts and parts[-1] in _WITHIN_MAILDIR:
        parts.pop()
    # In /var/mail each user has a file with the user's own name.
    if not parts or parts[-1] == account:
        return None
    return parts[-1]


def _is_message(folder: str, name: str) -> bool:
    """Tell whether a name is that of a message in a folder, and not of a mailbox."""
    return folder in _WITHIN_MAILDIR or _MESSAGE.fullmatch(name) is not None
