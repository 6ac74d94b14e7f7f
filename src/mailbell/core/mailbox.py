"""What an account of a mail server may be called, and when two names mean the same account."""

from typing import Final

__all__ = ["MAILBOX_FORM", "MAX_MAILBOX", "normalize_mailbox"]

MAX_MAILBOX: Final = 254
"""The greatest length of a name, in characters. RFC 5321, section 4.5.3.1.3: a path has at
most 256 octets, and two of them are its brackets."""

MAILBOX_FORM: Final = (
    "a name of 1 to 254 printable characters without spaces, such as anna@example.org"
)
"""The form of a name in words, for messages."""


def normalize_mailbox(text: str) -> str | None:
    """Return the one form of all names that mean the same account.

    RFC 5321, section 2.4: a domain is compared without case. What is left of the last `@` is
    compared with case, because only the mail server knows what it means there.

    Args:
        text: a name, as a mail server says it or as the operator wrote it.

    Returns:
        The normal form, itself a valid name; None: no account may be called so.
    """
    if not _is_name(text):
        return None
    local, at, domain = text.rpartition("@")
    if not at:
        return text
    # A few letters become two when they lose their case, so the length is checked again.
    normal = f"{local}@{domain.lower()}"
    return normal if _is_name(normal) else None


def _is_name(text: str) -> bool:
    # The space is the only separator that `isprintable` lets through.
    return 0 < len(text) <= MAX_MAILBOX and text.isprintable() and " " not in text
