"""Turns an address and a few bytes into exactly one counted outcome.

The TCP and the UDP listener share this code: which sources may notify, how often, and
which accounts they notify. Cheap checks come first, and nothing is read from a source
that is refused. Pure: it combines the limiter, the accounts and the hub, and times are
arguments.
"""

from collections.abc import Callable

from mailbell.core.networks import NetworkMap
from mailbell.core.notification import Cause
from mailbell.core.outcome import Outcome
from mailbell.limits.gate import Gate
from mailbell.listener._accounts import AccountMap
from mailbell.listener._counters import Counters
from mailbell.listener._hub import Hub, Origin
from mailbell.listener.configuration import Sources
from mailbell.logs.journal import Journal, Level

__all__ = ["ACCOUNT_OUTCOMES", "Admission"]

# Outcomes of connections that a limit forbade to read to their end. One may carry the last
# notification of a burst (`Hub.ring_unread`).
_UNREAD = frozenset(
    {Outcome.RATE_LIMITED, Outcome.TOO_MANY_CONNECTIONS, Outcome.TOO_MANY_FROM_SOURCE}
)
# Outcomes that reach an account.
ACCOUNT_OUTCOMES = frozenset({Outcome.ACCEPTED, *_UNREAD})


# To get a member of an enumeration by its name takes longer than to compare it.
_NETWORK, _ACCEPTED = Cause.NETWORK, Outcome.ACCEPTED


class Admission:
    """Decides which sources may notify, and passes their notifications to the hub.

    Args:
        sources: the configured allow and deny lists.
        accounts: finds the accounts of a notification.
        hub: gets every accepted notification.
        counters: counts every outcome.
        journal: logs every refusal, with a limit on its lines.
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
        self._allows_all = not sources.allow
        self._denied = NetworkMap((network, True) for network in sources.deny)
        self._translation = sources.translation
        self._denies_none = not sources.deny
        self._accounts = accounts
        self._hub = hub
        self._counters = counters
        self._journal = journal
        self._stamp = stamp

    @property
    def needs_local_address(self) -> bool:
        """Whether the choice of the account depends on the called address."""
        return self._accounts.needs_local_address

    def refusal(self, gate: Gate, source: int, now: float) -> Outcome | None:
        """Decide whether to read from a source.

        Args:
            gate: the limits of the source's transport and family. One token is taken.
            source: the address of the source, as a number.
            now: monotonic clock, in seconds.

        Returns:
            Why nothing is read from this source; None: the caller may read.
        """
        if not self._denies_none and self._in(self._denied, gate, source):
            return Outcome.DENIED_SOURCE
        # The kernel's packet filter enforces the same list; this check is the second one.
        if not self._allows_all and not self._in(self._listed, gate, source):
            return Outcome.UNLISTED_SOURCE
        return None if gate.admit(source, now) else Outcome.RATE_LIMITED

    def conclude(
        self,
        outcome: Outcome,
        gate: Gate,
        source: int,
        now: float,
        *,
        local: int | None = None,
        data: bytes = b"",
    ) -> Outcome:
        """Count the one outcome of a connection or datagram, and notify if it was accepted.

        Args:
            outcome: how the connection or datagram ended.
            gate: the limits of its transport and family.
            source: the address of the source, as a number.
            now: monotonic clock, in seconds.
            local: the called address; None: no account depends on it.
            data: the bytes that were read, for the log.

        Returns:
            The counted outcome. An accepted notification that is for no account is
            counted as `UNKNOWN_ACCOUNT`.
        """
        origin = Origin(_NETWORK, gate.transport, gate.family, source)
        # What a stranger sends means nothing until it is read.
        if outcome is _ACCEPTED or (outcome in _UNREAD and gate.knows(source)):
            rung = self._accounts.lookup(gate.family, source, local)
            ring = self._hub.ring_all if outcome is _ACCEPTED else self._hub.ring_all_unread
            ring(rung, origin, now, self._stamp())
            if outcome is _ACCEPTED:
                if rung:
                    gate.prove(source)
                else:
                    outcome = Outcome.UNKNOWN_ACCOUNT
        self._counters.count(gate.transport, outcome)
        if outcome is not _ACCEPTED:
            self._journal.log(
                Level.NOTICE,
                "refused",
                outcome=outcome,
                transport=gate.transport,
                source=origin,
                data=data or None,
            )
        return outcome

    def _in(self, networks: NetworkMap[bool], gate: Gate, source: int) -> bool:
        return self._translation.lookup(networks, gate.family, source) or False
