"""Finds the accounts that a notification is for.

A notification of RFC 4146 names no account. The listener knows only the source address
and which of its own addresses the sender called. Each of them can name an account. The
called address also works as a key: an IPv6 host has so many addresses that a stranger
cannot guess the right one.
"""

from collections.abc import Iterable, Sequence

from mailbell.core.networks import Address, Family, Network, NetworkMap
from mailbell.core.translation import Translation
from mailbell.listener.configuration import AccountSettings

__all__ = ["DEFAULT", "AccountMap"]

DEFAULT = "default"
"""The name of the only account if none is declared."""


class AccountMap:
    """The accounts, and the rules that choose among them.

    The rules, in order:

    1. If no account is declared, every notification is for `default`.
    2. If accounts list the called address, the choice is among these accounts: first
       those with the longest network that contains the source; if there are none, those
       without networks.
    3. If rule 2 chooses no account, the choice is among the accounts without addresses:
       those with the longest network that contains the source.
    4. If rule 3 chooses no account, the notification is for no account, or for all
       accounts if `unmatched_all` is set.

    If several accounts list the same network (or the same address, without networks),
    all of them are chosen, in the order of their declaration.

    Args:
        accounts: the declared accounts.
        unmatched_all: whether a notification that matches no account is for all of them.
        translation: finds IPv4 sources behind a translator.

    Attributes:
        names: the names of all accounts, in the order of their declaration.
        needs_local_address: whether an account depends on the called address.
    """

    __slots__ = (
        "_addressed", "_keyed", "_sourced", "_translation", "_unmatched", "names",
        "needs_local_address",
    )  # fmt: skip

    def __init__(
        self,
        accounts: Sequence[AccountSettings],
        unmatched_all: bool,
        translation: Translation | None = None,
    ) -> None:
        self._translation = translation or Translation()
        self.names: tuple[str, ...] = tuple(account.name for account in accounts) or (DEFAULT,)
        self.needs_local_address: bool = any(account.addresses for account in accounts)
        self._unmatched = self.names if unmatched_all or not accounts else ()
        self._sourced = _network_map(account for account in accounts if not account.addresses)
        self._addressed = _by_address(account for account in accounts if not account.sources)
        self._keyed = _by_address_and_source(
            account for account in accounts if account.addresses and account.sources
        )

    def lookup(self, family: Family, source: int, local: int | None) -> tuple[str, ...]:
        """Find the accounts that a notification is for.

        Args:
            family: the family of both addresses.
            source: the source's address, as an integer in network byte order.
            local: the called address, as an integer too; None: it is not known.

        Returns:
            The names of the accounts; empty: the notification is for none.
        """
        names = None if local is None else self._lookup_called(family, source, local)
        if not names:
            names = self._translation.lookup(self._sourced, family, source)
        return names or self._unmatched

    def _lookup_called(self, family: Family, source: int, local: int) -> tuple[str, ...] | None:
        called = (family, local)
        keyed = self._keyed.get(called)
        names = self._translation.lookup(keyed, family, source) if keyed else None
        return names or self._addressed.get(called)


def _network_map(accounts: Iterable[AccountSettings]) -> NetworkMap[tuple[str, ...]]:
    names: dict[Network, dict[str, None]] = {}  # a dict is a set that keeps the order
    for account in accounts:
        for network in account.sources:
            names.setdefault(network, {})[account.name] = None
    # Networks of the same accounts share one tuple: the hub knows a group by this object.
    same: dict[tuple[str, ...], tuple[str, ...]] = {}
    found = ((network, tuple(members)) for network, members in names.items())
    return NetworkMap((network, same.setdefault(group, group)) for network, group in found)


def _by_address(accounts: Iterable[AccountSettings]) -> dict[tuple[Family, int], tuple[str, ...]]:
    names: dict[Address, dict[str, None]] = {}
    for account in accounts:
        for address in account.addresses:
            names.setdefault(address, {})[account.name] = None
    return {address: tuple(members) for address, members in names.items()}


def _by_address_and_source(
    accounts: Iterable[AccountSettings],
) -> dict[tuple[Family, int], NetworkMap[tuple[str, ...]]]:
    members: dict[Address, list[AccountSettings]] = {}
    for account in accounts:
        for address in account.addresses:
            members.setdefault(address, []).append(account)
    return {address: _network_map(sharing) for address, sharing in members.items()}
