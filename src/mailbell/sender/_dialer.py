"""Makes the connections that the schedule asks for, sends the line and closes. It reads nothing."""

import select
from typing import NoReturn, Protocol

from mailbell.core.networks import Address
from mailbell.logs.journal import Journal
from mailbell.sender._bell import Rules
from mailbell.sender._schedule import Schedule

__all__ = ["Dialer", "Names"]


class Names(Protocol):
    """Finds the addresses of names; `_names.Names` says more."""

    async def lookup(self, name: str) -> tuple[Address, ...]:
        """Return at least one address, in the order in which they should be tried."""


class Dialer:
    """Calls targets.

    Args:
        schedule: what is called when; its `on_due` must be `wake`.
        epoll: made before the lock (`select.epoll()`), and used by nothing else.
        rules: which addresses of a name may be called, and which own addresses.
        names: finds addresses of names; None: the configuration has no name.
        journal: logs changes of state, and bugs.
    """

    def __init__(
        self,
        schedule: Schedule,
        *,
        epoll: select.epoll,
        rules: Rules,
        names: Names | None,
        journal: Journal,
    ) -> None:
        raise NotImplementedError

    def wake(self) -> None:
        """Look at the schedule soon: something is due earlier than it was."""
        raise NotImplementedError

    async def serve(self) -> NoReturn:
        """Call for ever."""
        raise NotImplementedError
