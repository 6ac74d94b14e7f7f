"""Turns each request into exactly one counted outcome, and passes on what is accepted.

Pure: it combines the accounts, the speakers and the bell, and times are arguments.
"""

from collections.abc import Iterable
from math import inf
from typing import Final, Protocol

from mailbell.core.networks import Address
from mailbell.core.sender_outcome import InputOutcome
from mailbell.logs.journal import Journal, Level
from mailbell.sender._accounts import Account, Accounts
from mailbell.sender._counters import Counters
from mailbell.sender._late_rings import LateRings
from mailbell.sender._quiet_folders import QuietFolders
from mailbell.sender._requests import Ignored, Malformed, NewMail, Request, Seen
from mailbell.sender._speakers import Origin, Speaker, Speakers

__all__ = ["Reception", "Ringer"]

# To get a member of an enumeration by its name takes a noticeable part of the time of a request.
_ACCEPTED: Final = InputOutcome.ACCEPTED
_RATE_LIMITED: Final = InputOutcome.RATE_LIMITED

_UNREAD: Final = Malformed("too many connections of this user", InputOutcome.RATE_LIMITED)


class Ringer(Protocol):
    """What gets the accepted requests: the bell."""

    def ring(self, account: Account, now: float, /) -> None:
        """Ring an account's targets, at once or later."""

    def would_learn(self, account: Account, address: Address, /) -> bool:
        """Tell whether a login from an address would make it one more target."""

    def seen(self, account: Account, address: Address, now: float, /) -> bool:
        """Note that a user looked for mail; return whether the address may be rung."""


class Reception:
    """Decides about every request.

    Args:
        accounts: finds the account that a request names.
        speakers: who may speak for which account, and how often.
        bell: gets what is accepted.
        quiet: the folders whose mail rings nobody.
        counters: counts every outcome.
        journal: logs every refusal, with a limit on its lines.

    Attributes:
        late: the accounts that ring although a limit refused their notification.
    """

    __slots__ = ("_accounts", "_bell", "_counters", "_journal", "_quiet", "_speakers", "late")

    def __init__(
        self,
        accounts: Accounts,
        speakers: Speakers,
        bell: Ringer,
        quiet: Iterable[str],
        counters: Counters,
        journal: Journal,
    ) -> None:
        self._accounts = accounts
        self._speakers = speakers
        self._bell = bell
        self._quiet = QuietFolders(quiet)
        self._counters = counters
        self._journal = journal
        self.late = LateRings()

    def is_trusted(self, speaker: Speaker) -> bool:
        """Tell whether a speaker may speak for every account.

        Args:
            speaker: the author of an input.
        """
        return self._speakers.is_trusted(speaker)

    def admit_connection(self, speaker: Speaker, now: float) -> bool:
        """Decide whether to read a connection. If not, its one outcome is counted.

        Args:
            speaker: the user at the other end.
            now: monotonic clock, in seconds.
        """
        if self._speakers.admit_connection(speaker, now):
            return True
        # The connection may carry the last notification of a burst. It can only be for the
        # user's own account.
        own = self._speakers.own_account(speaker)
        if own is not None and own.enabled:
            self._ring_over_limit(own, now)
        self._counters.count_input(_RATE_LIMITED)
        self._log(_RATE_LIMITED, _UNREAD, speaker)
        return False

    def ring_late(self, now: float, *, all_of_them: bool = False) -> float:
        """Ring the accounts whose notifications over the limit have waited long enough.

        Args:
            now: monotonic clock, in seconds.
            all_of_them: whether the sender ends, and nobody may wait any longer.

        Returns:
            When to call this again; infinite: no account waits.
        """
        for account in self.late.due(inf if all_of_them else now):
            self._bell.ring(account, now)
        return self.late.next_due

    def take(self, request: Request | Malformed, speaker: Speaker, now: float) -> InputOutcome:
        """Decide about one input, count its outcome, and ring or note what is accepted.

        Args:
            request: what was read.
            speaker: its author.
            now: monotonic clock, in seconds.

        Returns:
            The counted outcome. An event that is ignored counts as accepted.
        """
        # A tuple, because `NewMail | Seen` would be made anew at each call.
        if isinstance(request, (NewMail, Seen)):
            outcome = self._decide(request, speaker, now)
        elif isinstance(request, Ignored):
            # It costs as much to read as any other input.
            outcome = _ACCEPTED if self._speakers.admit(speaker, now) else _RATE_LIMITED
        else:
            outcome = request.outcome
        self._counters.count_input(outcome)
        if outcome is not _ACCEPTED:
            self._log(outcome, request, speaker)
        return outcome

    def _decide(self, request: NewMail | Seen, speaker: Speaker, now: float) -> InputOutcome:
        account = self._accounts.find(request.account)
        if account is None:
            return InputOutcome.UNKNOWN_ACCOUNT
        if not self._speakers.may_speak_for(speaker, account):
            return InputOutcome.NOT_PERMITTED
        if not account.enabled:
            return InputOutcome.DISABLED
        if isinstance(request, Seen):
            return self._note(account, request.address, speaker, now)
        if request.folder is not None and self._quiet.contains(request.folder):
            return InputOutcome.QUIET_FOLDER
        return self._ring(account, speaker, now)

    def _ring(self, account: Account, speaker: Speaker, now: float) -> InputOutcome:
        if self._speakers.admit(speaker, now):
            self._bell.ring(account, now)
            return _ACCEPTED
        # The last of a burst must not be lost. Only a datagram, which anybody may forge, is.
        if speaker.origin is not Origin.COMSAT:
            self._ring_over_limit(account, now)
        return _RATE_LIMITED

    def _ring_over_limit(self, account: Account, now: float) -> None:
        if self.late.rings_now(account, now):
            self._bell.ring(account, now)

    def _note(
        self, account: Account, address: Address, speaker: Speaker, now: float
    ) -> InputOutcome:
        # Otherwise any local user could have other people's notifications sent anywhere.
        if speaker.origin is Origin.COMSAT:
            return InputOutcome.NOT_PERMITTED
        if not self._speakers.admit(speaker, now):
            return _RATE_LIMITED
        is_new = not self.is_trusted(speaker) and self._bell.would_learn(account, address)
        if is_new and not self._speakers.admit_address(speaker, now):
            return _RATE_LIMITED
        accepted = self._bell.seen(account, address, now)
        return _ACCEPTED if accepted else InputOutcome.REFUSED_ADDRESS

    def _log(self, outcome: InputOutcome, request: Request | Malformed, speaker: Speaker) -> None:
        """Log a refusal. Each outcome has its own limit, so that no flood of one hides another."""
        self._journal.log(
            Level.INFO,
            outcome.value,
            origin=speaker.origin,
            uid=speaker.uid,
            account=request.account if isinstance(request, NewMail | Seen) else None,
            folder=request.folder if isinstance(request, NewMail) else None,
            address=request.address if isinstance(request, Seen) else None,
            why=request.why if isinstance(request, Malformed) else self._why(outcome, speaker),
        )

    def _why(self, outcome: InputOutcome, speaker: Speaker) -> str | None:
        """Return what the operator may do about a refusal."""
        if outcome is not InputOutcome.NOT_PERMITTED:
            return None
        if speaker.origin is Origin.COMSAT:
            return "anybody may forge a datagram"
        name = self._speakers.name(speaker)
        if name is None:
            return "no such user at the start: write the user into listen.trusted, or restart"
        return f"{name} speaks for another account: write the user into listen.trusted"
