"""Who may speak for which account, and how often.

The kernel tells the user at the other end of the hook's socket. Users that the operator
trusts speak for every account. Any other user speaks only for the account that has the
user's own name. There is no name service after the lock, so the names were read before it.
"""

from collections.abc import Collection, Mapping
from enum import StrEnum
from typing import NamedTuple

from mailbell.sender._accounts import Account, Accounts

__all__ = ["Origin", "Speaker", "Speakers"]


class Origin(StrEnum):
    """How an input arrived."""

    HOOK = "hook"  # the stream socket that every user may use
    CONTROL = "control"  # the Varlink socket; its group is trusted
    COMSAT = "comsat"  # UDP: any local user may forge it
    CYRUS = "cyrus"  # the notify socket of Cyrus IMAP; its mode admits Cyrus alone


class Speaker(NamedTuple):
    """The author of an input.

    Attributes:
        uid: the user, as the kernel says; None: it does not say.
        origin: how the input arrived.
    """

    uid: int | None
    origin: Origin


class Speakers:
    """All users.

    Args:
        accounts: finds the account that has a user's name.
        users: the name of each user of this machine.
        trusted: users who may speak for every account.
    """

    def __init__(
        self, accounts: Accounts, users: Mapping[int, str], trusted: Collection[int]
    ) -> None:
        self._accounts = accounts
        self._users = users
        self._trusted = frozenset(trusted)

    def is_trusted(self, speaker: Speaker) -> bool:
        """Tell whether a speaker may speak for every account, also about logins."""
        raise NotImplementedError

    def may_speak_for(self, speaker: Speaker, account: Account) -> bool:
        """Tell whether a speaker may ring an account.

        Args:
            speaker: the author of the input.
            account: the account that the input names.
        """
        raise NotImplementedError
