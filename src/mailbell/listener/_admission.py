"""From an address and a few bytes to exactly one counted outcome.

What the TCP and the UDP listener share, and what an embedding program would
use without either: who may ring at all, how often, and whom it rings. Cheap
checks come first; nothing is read from a source that is refused. Pure: it
combines the limiter, the accounts and the hub, and times are arguments.
"""

from collections.abc import Callable

from mailbell.core.networks import Family, NetworkMap
from mailbell.core.notification import Cause, Transport
from mailbell.core.outcome import Outcome
from mailbell.limits.limiter import Gate
from mailbell.listener._accounts import AccountMap
from mailbell.listener._counters import Counters
from mailbell.listener._hub import Hub, Origin
from mailbell.listener.configuration import Sources
from mailbell.logs.journal import Journal, Level

__all__ = ["CALLS", "Admission"]

# Outcomes that say something to an account: whoever is limited may have had the
# last word of many (`Hub.ring_unread`).
CALLS = frozenset({Outcome.ACCEPTED, Outcome.RATE_LIMITED})


# Asking an enumeration for a member by name takes longer than comparing it.
_NETWORK, _ACCEPTED = Cause.NETWORK, Outcome.ACCEPTED


class Admission:
    """Decides who may ring, and rings.

    Args:
        sources: the configured allow and deny lists.
        accounts: whom a notification belongs to.
        hub: told of every accepted notification.
        counters: told of every outcome.
        journal: told of every refusal (and limits its own lines).
        stamp: returns the time as a stamp, which the hub keeps.
    """

    def __init__(
        self,
        sources: Sources,
        accounts: AccountMap,
        hub: Hub,
        counters: Counters,
        journal: Journal,
        stamp: Callable[[], int],
    ) -> None:
        self._listed = NetworkMap((network, True) for network in sources.allow)
        self._anyone = not sources.allow
        self._denied = NetworkMap((network, True) for network in sources.deny)
        self._nobody_denied = not sources.deny
        self._accounts = accounts
        self._hub = hub
        self._counters = counters
        self._journal = journal
        self._stamp = stamp

    @property
    def needs_local_address(self) -> bool:
        """Whether the address that was called decides about the account."""
        return self._accounts.needs_local_address

    def refusal(self, family: Family, source: int, gate: Gate, now: float) -> Outcome | None:
        """Say why this source is not even listened to; None: it is.

        Args:
            family: of the source.
            source: its address as a number.
            gate: the limits of this family and transport; a token is taken.
            now: monotonic clock, in seconds.
        """
        if not self._nobody_denied and self._denied.lookup(family, source):
            return Outcome.DENIED_SOURCE
        # The kernel's filter enforces the same list; this is the second wall.
        if not self._anyone and not self._listed.lookup(family, source):
            return Outcome.UNLISTED_SOURCE
        return None if gate.admit(source, now) else Outcome.RATE_LIMITED

    def conclude(
        self,
        outcome: Outcome,
        transport: Transport,
        family: Family,
        source: int,
        now: float,
        *,
        local: int | None = None,
        data: bytes = b"",
    ) -> Outcome:
        """Count the one outcome of a connection or datagram, and ring if it was accepted.

        Args:
            outcome: what the source's input came to.
            transport: how it came.
            family: of the source.
            source: its address as a number.
            now: monotonic clock, in seconds.
            local: the address that was called, where that matters.
            data: what was read, for the log.

        Returns:
            The outcome as counted: an accepted one may turn out to belong to nobody.
        """
        origin = Origin(_NETWORK, transport, family, source)
        if outcome in CALLS:
            rung = self._accounts.lookup(family, source, local)
            ring = self._hub.ring if outcome is _ACCEPTED else self._hub.ring_unread
            for account in rung:
                ring(account, origin, now, self._stamp())
            if outcome is _ACCEPTED and not rung:
                outcome = Outcome.UNKNOWN_ACCOUNT
        self._counters.count(transport, outcome)
        if outcome is not _ACCEPTED:
            self._journal.log(
                Level.NOTICE,
                "refused",
                outcome=outcome,
                transport=transport,
                source=origin,
                data=data or None,
            )
        return outcome
