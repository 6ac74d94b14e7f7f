"""Bounds what a daemon's reply may hold. A client asks this before it keeps any of a reply.

Another program than mailbelld may answer at the socket's path, and mailbelld may be broken.
A client shows parts of a reply, keeps them, and sends the cursor back. So every text is short
and printable, every list and table is short, and no count is negative. The check walks over
whatever fields a reply has: a new field is bounded without a change here. Fields that only a
newer daemon knows are not in the reply any more.

Pure: a reply comes in, and an error goes out.
"""

import dataclasses
import math
import re
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from mailbell.core.account_name import is_account_name
from mailbell.core.notification import Cursor, Notification
from mailbell.interfaces.listener import Account
from mailbell.varlink import ProtocolError

__all__ = ["MAX_EPOCH", "SOURCE", "STREAM_LIMIT", "Rules", "check_reply", "is_cursor"]

MAX_EPOCH: Final = 64
"""The most characters of a cursor's epoch, so that a call has room for it; mailbelld uses 16."""

STREAM_LIMIT: Final = 16 * 1024
"""The greatest length of an answer to `Subscribe`, in bytes. One of mailbelld's has about 250."""

SOURCE: Final = re.compile(r"[0-9A-Fa-f:.]{2,45}(%[A-Za-z0-9._-]{1,15})?", re.ASCII)
"""The characters and the length of a numeric address, perhaps with an interface."""

# No character of an epoch has an escape in JSON, so its length in a call is known.
_EPOCH: Final = re.compile(rf"[A-Za-z0-9._:+/=-]{{1,{MAX_EPOCH}}}", re.ASCII)

_LONGEST_TEXT: Final = 256  # characters; the longest of mailbelld's is a reason of about 100
_MOST_ITEMS: Final = 64  # entries of a list or a table; mailbelld has fewer than 30 outcomes
_LONG_LISTS: Final = {
    "accounts": 8192,  # REPLY_LIMIT has room for no more
    "listening": 128,  # listen.tcp and listen.udp, 64 each
    "groups": 65_536,  # NGROUPS_MAX of Linux, credentials(7)
    "steps": 512,  # 16 targets of an account, each of which may stand for 16 addresses
}

# Times, and spans of time. A clock may be set to any time.
_ANY_TIME: Final = {"time", "started", "uptime", "age", "wait"}


def is_cursor(cursor: Cursor) -> bool:
    """Tell whether a daemon accepts a cursor, and a call has room for it.

    Args:
        cursor: a cursor from a daemon, or from a program that stored one.
    """
    return _EPOCH.fullmatch(cursor.epoch) is not None and -1 <= cursor.sequence < 1 << 63


Rules = Mapping[tuple[type, str], Callable[[Any], object]]
"""Fields that have rules of their own: type and name, and what tells whether a value is good."""

_LISTENER_RULES: Final[Rules] = {
    (Notification, "account"): is_account_name,
    (Notification, "source"): lambda source: source is None or SOURCE.fullmatch(source),
    (Account, "name"): is_account_name,
}


def check_reply(reply: object, rules: Rules = _LISTENER_RULES) -> None:
    """Refuse a reply that a client should not keep.

    Args:
        reply: one of the `...Reply` types of an interface.
        rules: fields that have rules of their own; without it those of `org.mailbell.Listener`.

    Raises:
        ProtocolError: a value is too long, too large or not printable. The text names the
            field, and holds no byte of the daemon's.
    """
    _check(reply, "", rules)


def _check(value: object, path: str, rules: Rules) -> None:
    if isinstance(value, str):
        if len(value) > _LONGEST_TEXT or not value.isprintable():
            raise ProtocolError(f"a text in {path} that is too long or not printable")
    elif isinstance(value, int | float):
        _check_number(value, path)
    elif isinstance(value, dict | tuple):
        _check_entries(value, path, rules)
    elif value is not None:
        _check_record(value, path, rules)


def _check_number(value: float, path: str) -> None:
    if value < 0 and path.rpartition(".")[2] not in _ANY_TIME:
        raise ProtocolError(f"a negative number in {path}")
    if not math.isfinite(value):
        raise ProtocolError(f"a number in {path} that is not finite")


def _check_entries(value: dict[str, object] | tuple[object, ...], path: str, rules: Rules) -> None:
    most = _LONG_LISTS.get(path.rpartition(".")[2], _MOST_ITEMS)
    if len(value) > most:
        raise ProtocolError(f"{path} with more than {most} entries")
    for entry in value:
        _check(entry, path, rules)
    if isinstance(value, dict):
        for entry in value.values():
            _check(entry, path, rules)


def _check_record(record: Any, path: str, rules: Rules) -> None:
    if isinstance(record, Cursor):
        if not is_cursor(record):
            raise ProtocolError(f"a {path} that no daemon accepts")
        return
    for name in _names(record):
        value, where = getattr(record, name), f"{path}.{name}" if path else name
        rule = rules.get((type(record), name))
        if rule is None:
            _check(value, where, rules)
        elif not rule(value):
            raise ProtocolError(f"a {where} of a form that no daemon of ours sends")


def _names(record: Any) -> tuple[str, ...]:
    if isinstance(record, msgspec.Struct):
        return record.__struct_fields__
    return tuple(field.name for field in dataclasses.fields(record))
