"""What an account may be called: one rule for every program."""

import re
from typing import Final

__all__ = ["ACCOUNT_NAME_FORM", "ACCOUNT_NAME_PATTERN", "MAX_ACCOUNT_NAME", "is_account_name"]

MAX_ACCOUNT_NAME: Final = 64
"""The greatest length of a name, in characters."""

ACCOUNT_NAME_PATTERN: Final = r"[A-Za-z0-9][A-Za-z0-9._@+-]{0,63}"
"""A regular expression that a whole name must match. It admits mail addresses. It admits no
name with a special meaning in a shell, in a path or in a log line."""

ACCOUNT_NAME_FORM: Final = 'a name of 1 to 64 letters, digits and any of "._@+-", such as "work"'
"""The form of a name in words, for messages."""

_WHOLE: Final = re.compile(ACCOUNT_NAME_PATTERN, re.ASCII)


def is_account_name(text: str) -> bool:
    """Tell whether a text may be the name of an account."""
    return _WHOLE.fullmatch(text) is not None
