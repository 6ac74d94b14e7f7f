"""Turns an address and a few bytes into exactly one counted outcome.

The TCP and the UDP listener share this code: which sources may notify, how often, and
which accounts they notify. Cheap checks come first, and nothing is read from a source
that is refused. Pure: it combines the limiter, the accounts and the hub, and times are
arguments.
"""

from collections.abc import Callable
from math import inf

from mailbell.core.networks import Family, NetworkMap
from mailbell.core.notification import Cause, Transport
from mailbell.core.outcome import Outcome
from mailbell.limits.gate import Gate, Visitor
from mailbell.listener._accounts import AccountMap
from mailbell.listener._counters import Counters
from mailbell.listener._hub import AccountState, Hub, Origin
from mailbell.listener.configuration import Sources
from mailbell.logs.journal import Journal, Level

__all__ = ["ACCOUNT_OUTCOMES", "Admission", "Caller"]

# Outcomes of connections that a limit forbade to read to their end. One may carry the last
# notification of a burst (`Hub.ring_unread`).
_UNREAD = frozenset(
    {Outcome.RATE_LIMITED, Outcome.TOO_MANY_CONNECTIONS, Outcome.TOO_MANY_FROM_SOURCE}
)
# Outcomes that reach an account.
ACCOUNT_OUTCOMES = frozenset({Outcome.ACCEPTED, *_UNREAD})


# To get a member of an enumeration by its name takes longer than to compare it.
_NETWORK, _ACCEPTED = Cause.NETWORK, Outcome.ACCEPTED


class Caller(Origin, frozen=True, gc=True):
    """An origin, and everything about it that the configuration decides. `Admission.meet` makes it.

    It stays right as long as the daemon runs. So it can be kept for the next call of the source.
    The account's state keeps the last one, so both are in a circle, and the collector must see it.

    Attributes:
        counts: how many connections or datagrams of its transport had each outcome.
        barred: why nothing is ever read from it; None: it may call.
        visitor: what the limits have for it.
        accounts: the accounts that it notifies; None: that depends on the called address.
        only: the state of the account if it is one; None: there are none or several.
    """

    transport: Transport
    family: Family
    counts: dict[Outcome, int]
    barred: Outcome | None
    visitor: Visitor
    accounts: tuple[str, ...] | None
    only: AccountState | None


class Admission:
    """Decides which sources may notify, and passes their notifications to the hub.

    Args:
        sources: the configured allow and deny lists.
        accounts: finds the accounts of a notification.
        hub: gets every accepted notification.
        counters: counts every outcome.
        journal: logs every refusal, with a limit on its lines.
        stamp: returns the time as a stamp, which the hub keeps.

    Attributes:
        needs_local_address: whether the choice of the account depends on the called address.
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
        self._accounts = accounts
        self.needs_local_address = accounts.needs_local_address
        self._hub = hub
        self._outcomes = counters.outcomes
        self._journal = journal
        self._stamp = stamp
        self._stamped, self._now = stamp(), -inf

    def meet(self, gate: Gate, source: int) -> Caller:
        """Look up everything about a source that the configuration decides.

        Args:
            gate: the limits of the source's transport and family.
            source: the address of the source, as a number.
        """
        family, transport = gate.family, gate.transport
        barred = self._barred(gate, source)
        accounts: tuple[str, ...] | None = None
        if barred is None and not self.needs_local_address:
            accounts = self._accounts.lookup(family, source, None)
        return Caller(
            _NETWORK,
            transport,
            family,
            source,
            self._outcomes[transport],
            barred,
            gate.visitor(source) if barred is None else gate.barred,
            accounts,
            self._hub.state(accounts[0]) if accounts and len(accounts) == 1 else None,
        )

    def _barred(self, gate: Gate, source: int) -> Outcome | None:
        if self._in(self._denied, gate, source):
            return Outcome.DENIED_SOURCE
        # The kernel's packet filter enforces the same list; this check is the second one.
        if self._allows_all or self._in(self._listed, gate, source):
            return None
        return Outcome.UNLISTED_SOURCE

    def refusal(self, caller: Caller, now: float) -> Outcome | None:
        """Decide whether to read what a source sends. One token is taken.

        Args:
            caller: the source.
            now: monotonic clock, in seconds.

        Returns:
            Why nothing is read from this source; None: the caller may read.
        """
        if caller.barred is not None:
            return caller.barred
        return None if caller.visitor.admit(now) else Outcome.RATE_LIMITED

    def conclude(
        self,
        outcome: Outcome,
        caller: Caller,
        now: float,
        *,
        local: int | None = None,
        data: bytes = b"",
    ) -> Outcome:
        """Count the one outcome of a connection or datagram, and notify if it was accepted.

        Args:
            outcome: how the connection or datagram ended.
            caller: the source.
            now: monotonic clock, in seconds.
            local: the called address; None: no account depends on it.
            data: the bytes that were read, for the log.

        Returns:
            The counted outcome. An accepted notification that is for no account is
            counted as `UNKNOWN_ACCOUNT`.
        """
        if outcome is _ACCEPTED:
            return self.accept(caller, now, local)
        # What a stranger sends means nothing until it is read.
        if outcome in _UNREAD and caller.visitor.known:
            rung = self._rung(caller, local)
            self._hub.ring_all_unread(rung, caller, now, self._time(now))
        return self._refuse(outcome, caller, data)

    def accept(self, caller: Caller, now: float, local: int | None = None) -> Outcome:
        """Count an accepted notification, and pass it on. It is `conclude` for this outcome.

        Args:
            caller: the source.
            now: monotonic clock, in seconds.
            local: the called address; None: no account depends on it.

        Returns:
            The counted outcome, as of `conclude`.
        """
        stamp = self._stamped if now == self._now else self._time(now)
        only = caller.only
        if only is None or not only.merge(caller, now, stamp):
            rung = self._rung(caller, local)
            if not rung:
                return self._refuse(Outcome.UNKNOWN_ACCOUNT, caller, b"")
            self._hub.ring_all(rung, caller, now, stamp)
        caller.visitor.prove(now)
        caller.counts[_ACCEPTED] += 1
        return _ACCEPTED

    def _time(self, now: float) -> int:
        """Return the stamp of a moment. The calls of one batch have one moment."""
        if now != self._now:
            self._now, self._stamped = now, self._stamp()
        return self._stamped

    def _rung(self, caller: Caller, local: int | None) -> tuple[str, ...]:
        if caller.accounts is not None:
            return caller.accounts
        return self._accounts.lookup(caller.family, caller.source, local)

    def _refuse(self, outcome: Outcome, caller: Caller, data: bytes) -> Outcome:
        caller.counts[outcome] += 1
        self._journal.log(
            Level.NOTICE,
            "refused",
            outcome=outcome,
            transport=caller.transport,
            source=caller,
            data=data or None,
        )
        return outcome

    def _in(self, networks: NetworkMap[bool], gate: Gate, source: int) -> bool:
        return self._translation.lookup(networks, gate.family, source) or False
