"""Which accounts a notification is for.

RFC 4146 carries no account: the listener knows who called and which of its
own addresses was called, and no more. Both can name an account; the called
address also acts as a key, since an IPv6 host has more of them than anyone
can guess.
"""

from collections.abc import Iterable, Sequence

from mailbell.core.networks import Address, Family, Network, NetworkMap
from mailbell.listener.configuration import AccountSettings

__all__ = ["DEFAULT", "AccountMap"]

DEFAULT = "default"
"""Name of the one account there is when none is declared."""


class AccountMap:
    """The accounts, and which of them a caller means.

    The rules, in order:

    1. No account is declared: everything is for `default`.
    2. The called address is some account's own: of the accounts with that
       address, those whose longest network contains the source; where none
       does, those that ask for no source.
    3. Otherwise, or when none of these is meant: of the accounts without
       addresses, those whose longest network contains the source.
    4. Otherwise nobody, or everybody when `unmatched_all` is set.

    Accounts that name the same network (or the same address, without
    networks) are all meant, in the order of their declaration.

    Args:
        accounts: as declared.
        unmatched_all: what matches no account is for all of them.

    Attributes:
        names: of all accounts, in the order of their declaration.
        needs_local_address: some account asks which address was called.
    """

    __slots__ = ("_addressed", "_keyed", "_sourced", "_unmatched", "names", "needs_local_address")

    def __init__(self, accounts: Sequence[AccountSettings], unmatched_all: bool) -> None:
        self.names: tuple[str, ...] = tuple(account.name for account in accounts) or (DEFAULT,)
        self.needs_local_address: bool = any(account.addresses for account in accounts)
        self._unmatched = self.names if unmatched_all or not accounts else ()
        self._sourced = _network_map(account for account in accounts if not account.addresses)
        self._addressed = _by_address(account for account in accounts if not account.sources)
        self._keyed = _by_address_and_source(
            account for account in accounts if account.addresses and account.sources
        )

    def lookup(self, family: Family, source: int, local: int | None) -> tuple[str, ...]:
        """Find the accounts a notification is for.

        Args:
            family: of both addresses.
            source: who called, as an integer in network byte order.
            local: which address was called, likewise; None when it is not known.

        Returns:
            Their names; empty when it is for none.
        """
        names = None if local is None else self._lookup_called(family, source, local)
        return names or self._sourced.lookup(family, source) or self._unmatched

    def _lookup_called(self, family: Family, source: int, local: int) -> tuple[str, ...] | None:
        called = (family, local)
        keyed = self._keyed.get(called)
        names = keyed.lookup(family, source) if keyed else None
        return names or self._addressed.get(called)


def _network_map(accounts: Iterable[AccountSettings]) -> NetworkMap[tuple[str, ...]]:
    names: dict[Network, dict[str, None]] = {}  # a dict is a set that keeps the order
    for account in accounts:
        for network in account.sources:
            names.setdefault(network, {})[account.name] = None
    return NetworkMap((network, tuple(members)) for network, members in names.items())


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
