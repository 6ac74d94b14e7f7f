"""What the name of an account may be: one rule for every program."""

import re
from typing import Final

__all__ = ["ACCOUNT_NAME_FORM", "ACCOUNT_NAME_PATTERN", "MAX_ACCOUNT_NAME", "is_account_name"]

MAX_ACCOUNT_NAME: Final = 64
"""Most characters of a name."""

ACCOUNT_NAME_PATTERN: Final = r"[A-Za-z0-9][A-Za-z0-9._@+-]{0,63}"
"""A regular expression for all of a name. It admits mail addresses, and no name that a
shell, a path or a line of the log could take for anything else."""

ACCOUNT_NAME_FORM: Final = 'a name of 1 to 64 letters, digits and any of "._@+-", such as "work"'
"""What a name looks like, for messages."""

_WHOLE: Final = re.compile(ACCOUNT_NAME_PATTERN, re.ASCII)


def is_account_name(text: str) -> bool:
    """Tell whether a text may be the name of an account."""
    return _WHOLE.fullmatch(text) is not None
