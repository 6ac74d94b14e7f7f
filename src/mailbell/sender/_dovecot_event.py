"""Reads the events of Dovecot's exporter: one JSON object for each event.

Three events are of interest. The exporter's filter may let others through, which are ignored.

- `sieve_action_finished`: a Sieve script has stored mail, and `fileinto_mailbox_name` says where.
- `mail_delivery_finished`: mail was delivered; with an `error` it was not.
- `auth_request_finished`: somebody tried to log in. Dovecot tells of failures too.

Source: https://doc.dovecot.org/main/core/summaries/events.html
"""

from typing import Final

import msgspec

from mailbell.sender._requests import IGNORED, Malformed, NewMail, Request, read_login

__all__ = ["parse_event_untrusted"]

# A login to send mail, or to change a Sieve script, does not look for mail.
_LOOKS_FOR_MAIL: Final = frozenset({"", "imap", "pop3"})


class _Fields(msgspec.Struct, frozen=True):
    """What an event says. Each value may be anything; what is not text counts as missing."""

    user: object = None
    error: object = None
    fileinto_mailbox_name: object = None
    success: object = None
    remote_ip: object = None
    master_user: object = None
    protocol: object = None  # Dovecot 2.4
    service: object = None  # Dovecot 2.3


class _Event(msgspec.Struct, frozen=True):
    event: str
    fields: _Fields = _Fields()


# Made here, because nothing can be imported when the first event arrives.
_decoder: Final = msgspec.json.Decoder(_Event)


def parse_event_untrusted(line: bytes) -> Request | Malformed:
    """Read one event.

    Args:
        line: a JSON object without its LF.

    Returns:
        What is asked, or why it is nothing. No bytes raise an exception.
    """
    try:
        # msgspec reads strings only where their value is needed, so all are checked here.
        if "\0" in line.decode():
            return Malformed("a zero byte")
        event = _decoder.decode(line)
    except UnicodeDecodeError:
        return Malformed("not UTF-8")
    except (msgspec.DecodeError, ValueError, RecursionError):
        # Before msgspec 0.21, DecodeError is no subclass of ValueError.
        return Malformed("not an event in JSON")
    return _interpret(event.event, event.fields)


def _interpret(event: str, fields: _Fields) -> Request | Malformed:
    if event == "sieve_action_finished":
        # Other actions, such as to reject a mail, have no folder.
        folder = _text(fields.fileinto_mailbox_name)
        return _new_mail(fields, folder) if folder else IGNORED
    if event == "mail_delivery_finished":
        return IGNORED if fields.error is not None else _new_mail(fields, None)
    if event == "auth_request_finished":
        return _login(fields)
    return IGNORED


def _new_mail(fields: _Fields, folder: str | None) -> Request | Malformed:
    user = _text(fields.user)
    return NewMail(user, folder) if user else Malformed("an event without a user")


def _login(fields: _Fields) -> Request | Malformed:
    protocol = _text(fields.protocol) or _text(fields.service)
    # `is`, because the number 1 is equal to True.
    succeeded = fields.success == "yes" or fields.success is True
    # With a master user, another person than the account's own logs in.
    if not succeeded or fields.master_user or protocol not in _LOOKS_FOR_MAIL:
        return IGNORED
    remote = _text(fields.remote_ip)
    # Without an address the login came from within the server.
    return read_login(_text(fields.user), remote) if remote else IGNORED


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
