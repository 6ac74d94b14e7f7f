"""Who may speak for which account, and how often.

The kernel tells the user at the other end of the hook's socket. Users that the operator
trusts speak for every account. Any other user speaks only for the account that has the
user's own name. There is no name service after the lock, so the names were read before it.
"""

from collections.abc import Collection, Mapping
from enum import StrEnum
from typing import Final, NamedTuple

from mailbell.limits.gcra import Bucket, BucketTable
from mailbell.sender._accounts import Account, Accounts

__all__ = ["Origin", "Speaker", "Speakers"]

USER_RATE: Final = 100.0
"""Requests a second that a user may make who is not trusted, and all of comsat's datagrams."""
USER_BURST: Final = 1000

# A mail server that was stopped may deliver all that has waited at once. So the limit only keeps
# one user from occupying the sender for ever.
TRUSTED_RATE: Final = 10_000.0
TRUSTED_BURST: Final = 50_000

CONNECTION_RATE: Final = 1000.0
"""Connections a second that are read of a user who is not trusted. More are closed unread, and the
log names the user. A flood that says nothing would otherwise leave no trace."""
CONNECTION_BURST: Final = 8192

# Whoever may tell of logins from anywhere could have the sender call any machine, one after the
# other. People change their network less often than this.
ADDRESS_RATE: Final = 1 / 60
"""New addresses a second that a user may tell of who is not trusted."""
ADDRESS_BURST: Final = 4

_USERS: Final = 1024  # users that are counted; above it the least busy is forgotten
_TRUSTED: Final = 128
# chown(2): -1 is the number of no user. It stands for the reader of Cyrus, and for all users who
# were unknown at the start: one user may have thousands of numbers (subuid(5)).
_NOBODY: Final = 0xFFFF_FFFF


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

    __slots__ = (
        "_accounts", "_addresses", "_comsat", "_connections", "_few", "_many", "_trusted", "_users",
    )  # fmt: skip

    def __init__(
        self, accounts: Accounts, users: Mapping[int, str], trusted: Collection[int]
    ) -> None:
        self._accounts = accounts
        self._users = users
        self._trusted = frozenset(trusted)
        # The keys are numbers of users. They are no secret and the kernel gives them, so the
        # tables need no secret seed.
        self._many = BucketTable(0, _USERS, 1, USER_RATE, USER_BURST)
        self._few = BucketTable(0, _TRUSTED, 1, TRUSTED_RATE, TRUSTED_BURST)
        self._connections = BucketTable(0, _USERS, 1, CONNECTION_RATE, CONNECTION_BURST)
        self._addresses = BucketTable(0, _USERS, 1, ADDRESS_RATE, ADDRESS_BURST)
        self._comsat = Bucket(USER_RATE, USER_BURST)

    def is_trusted(self, speaker: Speaker) -> bool:
        """Tell whether a speaker may speak for every account, also about logins.

        Args:
            speaker: the author of an input.
        """
        if speaker.origin is Origin.HOOK:
            return speaker.uid in self._trusted
        return speaker.origin is not Origin.COMSAT

    def may_speak_for(self, speaker: Speaker, account: Account) -> bool:
        """Tell whether a speaker may say that an account has new mail.

        Args:
            speaker: the author of the input.
            account: the account that the input names.
        """
        if speaker.origin is Origin.COMSAT or self.is_trusted(speaker):
            return True
        own = self.own_account(speaker)
        return own is not None and own.name == account.name

    def own_account(self, speaker: Speaker) -> Account | None:
        """Return the account that has a speaker's own name; None: there is none.

        Args:
            speaker: the author of an input.
        """
        name = self.name(speaker)
        return None if name is None else self._accounts.find(name)

    def name(self, speaker: Speaker) -> str | None:
        """Return the name of a speaker's user; None: it was unknown when the sender started.

        Args:
            speaker: the author of an input.
        """
        return None if speaker.uid is None else self._users.get(speaker.uid)

    def admit(self, speaker: Speaker, now: float) -> bool:
        """Take one request from what a speaker may ask.

        Args:
            speaker: the author of the input. It may speak for the account.
            now: monotonic clock, in seconds.

        Returns:
            Whether there was one left.
        """
        if speaker.origin is Origin.COMSAT:
            return self._comsat.take(now)
        table = self._few if self.is_trusted(speaker) else self._many
        if not table.test(_NOBODY if speaker.uid is None else speaker.uid, now):
            return False
        table.commit(now)
        return True

    def admit_address(self, speaker: Speaker, now: float) -> bool:
        """Take one new address from those that a user may tell of.

        Args:
            speaker: the author of a login; a user who is not trusted and has a name.
            now: monotonic clock, in seconds.

        Returns:
            Whether there was one left.
        """
        if not self._addresses.test(_NOBODY if speaker.uid is None else speaker.uid, now):
            return False
        self._addresses.commit(now)
        return True

    def admit_connection(self, speaker: Speaker, now: float) -> bool:
        """Take one connection from what a user may make.

        Args:
            speaker: the user at the other end.
            now: monotonic clock, in seconds.

        Returns:
            Whether the connection may be read. That of a trusted user always may.
        """
        uid = speaker.uid
        if uid in self._trusted:
            return True
        key = _NOBODY if uid is None or uid not in self._users else uid
        if not self._connections.test(key, now):
            return False
        self._connections.commit(now)
        return True
