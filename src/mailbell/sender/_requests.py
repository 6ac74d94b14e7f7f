"""What a mail server or a user may ask of the sender: ring an account, or note a login.

A line has one of two forms:

    new ACCOUNT [FOLDER]
    seen ACCOUNT ADDRESS

One space stands between two words. A folder may contain spaces. A line that begins with `{`
is an event of Dovecot's exporter, as a JSON object.
"""

from typing import Final, NamedTuple

from mailbell.core.networks import Address

__all__ = ["IGNORED", "Ignored", "Malformed", "NewMail", "Request", "Seen", "parse_line_untrusted"]


class NewMail(NamedTuple):
    """Mail was delivered.

    Attributes:
        account: the account's name in its normal form.
        folder: where the mail was put; None: the inbox, or it was not said.
    """

    account: str
    folder: str | None = None


class Seen(NamedTuple):
    """A user looked for mail.

    Attributes:
        account: the account's name in its normal form.
        address: from where; never an IPv4 address in IPv6 form.
    """

    account: str
    address: Address


class Ignored(NamedTuple):
    """An event of a mail server that is understood and rings nobody, such as a failed login."""


class Malformed(NamedTuple):
    """Input that is none of these.

    Attributes:
        why: what is wrong, in words of ours, for the log.
    """

    why: str


Request = NewMail | Seen | Ignored
"""Valid input."""

IGNORED: Final = Ignored()


def parse_line_untrusted(line: bytes) -> Request | Malformed:
    """Read one line.

    Args:
        line: without its LF.

    Returns:
        What is asked, or why it is nothing. No bytes raise an exception.
    """
    raise NotImplementedError
