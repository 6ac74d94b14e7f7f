"""What a mail server or a user may ask of the sender: ring an account, or note a login."""

from typing import Final, NamedTuple

from mailbell.core.networks import Address, parse_peer_address
from mailbell.core.sender_outcome import InputOutcome

__all__ = ["IGNORED", "Ignored", "Malformed", "NewMail", "Request", "Seen", "read_login"]


class NewMail(NamedTuple):
    """Mail was delivered.

    Attributes:
        account: the account's name, as the mail server says it; any text but an empty one.
        folder: where the mail was put; None: the inbox, or it was not said.
    """

    account: str
    folder: str | None = None


class Seen(NamedTuple):
    """A user looked for mail.

    Attributes:
        account: the account's name, as the mail server says it; any text but an empty one.
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
        outcome: what it counts as.
    """

    why: str
    outcome: InputOutcome = InputOutcome.MALFORMED


Request = NewMail | Seen | Ignored
"""Valid input."""

IGNORED: Final = Ignored()


def read_login(account: str, address: str) -> Seen | Malformed:
    """Make the request of a login.

    Args:
        account: the account's name, as the mail server says it.
        address: from where; any text.

    Returns:
        The request, or why it is none.
    """
    found = parse_peer_address(address)
    if not account or found is None:
        return Malformed("a login without an account or a numeric address")
    return Seen(account, found)
