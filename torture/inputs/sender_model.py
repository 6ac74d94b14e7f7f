"""What mailbell-sender must make of inputs, by its own pure parts.

Only the limits are left out: time passes so fast here that none is ever reached. The channels
apply them (`torture.inputs.buckets`).
"""

from collections.abc import Sequence
from typing import Final

from mailbell.core.networks import Address, Network
from mailbell.core.sender_outcome import InputOutcome
from mailbell.interfaces.sender import Ring, Seen
from mailbell.logs.journal import Journal
from mailbell.sender import _comsat, _cyrus_event
from mailbell.sender._accounts import Account, Accounts
from mailbell.sender._address_rules import AddressRules
from mailbell.sender._counters import Counters
from mailbell.sender._hook_line import parse_line_untrusted
from mailbell.sender._line_decoder import MAX_EVENT, STRANGERS_MAX_EVENT, LineDecoder, LineTooLong
from mailbell.sender._reception import Reception
from mailbell.sender._requests import Ignored, Malformed, NewMail, Request, read_login
from mailbell.sender._speakers import Origin, Speaker, Speakers
from mailbell.sender.configuration import Configuration
from torture.inputs.channel import Verdict
from torture.inputs.speaking import Input

__all__ = ["ByParts", "key_of_cyrus"]

_ENDING: Final = (InputOutcome.MALFORMED, InputOutcome.TOO_LONG)
_AGE: Final = 1e5  # seconds between two inputs; every limit has its full burst again by then


class _Bell:
    """Stands for the bell: an address is refused by the rules, and nothing rings."""

    def __init__(self, rules: AddressRules) -> None:
        self._rules = rules

    def ring(self, account: Account, now: float) -> None:
        """Do nothing."""

    def would_learn(self, account: Account, address: Address) -> bool:
        """Return False: the limit of new addresses is left out."""
        del account, address
        return False

    def seen(self, account: Account, address: Address, now: float) -> bool:
        """Return whether the address may be rung."""
        del account, now
        return self._rules.refusal(address) is None


class ByParts:
    """The parser, the accounts and the reception of mailbell-sender.

    Args:
        configuration: of the real one.
        uid: the user who speaks.
        name: of this user.
        is_trusted: whether this user may speak for every account.
    """

    def __init__(
        self, configuration: Configuration, *, uid: int, name: str, is_trusted: bool
    ) -> None:
        accounts = Accounts(configuration)
        speakers = Speakers(accounts, {uid: name}, {uid} if is_trusted else set())
        denied: tuple[Network, ...] = configuration.last_used.deny
        self._reception = Reception(
            accounts,
            speakers,
            _Bell(AddressRules((), denied, ())),
            configuration.quiet.folders,
            Counters(),
            Journal(bool, lambda: 0.0),
        )
        self._accounts = accounts
        self._speaker = Speaker(uid, Origin.HOOK)
        self._caller = Speaker(uid, Origin.CONTROL)
        self._is_trusted = is_trusted
        self._now = 0.0

    def hook(self, said: Input) -> Sequence[Verdict]:
        """Return the outcomes of the lines of one connection, up to the one that ends it.

        Args:
            said: all of the connection.
        """
        decoder = LineDecoder(MAX_EVENT if self._is_trusted else STRANGERS_MAX_EVENT)
        verdicts: list[Verdict] = []
        try:
            lines = [*decoder.feed_untrusted(said.data), *decoder.finish()]
            tail = []
        except LineTooLong as error:
            lines, tail = error.lines, [(InputOutcome.TOO_LONG.value,)]
        for line in lines:
            outcome = self._take(parse_line_untrusted(line), self._speaker)
            verdicts.append((outcome.value,))
            refused = outcome is not InputOutcome.ACCEPTED
            if outcome in _ENDING or (refused and not self._is_trusted):
                return verdicts
        return verdicts + tail

    def comsat(self, said: Input) -> Sequence[Verdict]:
        """Return the outcome of one biff datagram.

        Args:
            said: the datagram.
        """
        asked = _comsat.parse_datagram_untrusted(said.data)
        return ((self._take(asked, Speaker(None, Origin.COMSAT)).value,),)

    def cyrus(self, said: Input) -> Sequence[Verdict]:
        """Return the outcome of one datagram of Cyrus; none if it is ignored before that.

        Args:
            said: the datagram.
        """
        asked = _cyrus_event.parse_datagram_untrusted(said.data)
        if isinstance(asked, Ignored):
            return ((),)
        return ((self._take(asked, Speaker(None, Origin.CYRUS)).value,),)

    def call(self, request: Ring | Seen) -> str:
        """Return the outcome of a call on the control socket.

        Args:
            request: what is asked.
        """
        if isinstance(request, Seen):
            asked = read_login(request.account, request.address)
            return self._take(asked, self._caller).value
        return self._take(NewMail(request.account), self._caller).value

    def knows(self, account: str) -> bool:
        """Tell whether there is an account.

        Args:
            account: any text.
        """
        return self._accounts.find(account) is not None

    def _take(self, asked: Request | Malformed, speaker: Speaker) -> InputOutcome:
        self._now += _AGE
        return self._reception.take(asked, speaker, self._now)


def key_of_cyrus(said: Input) -> Request | Malformed:
    """Return what a datagram of Cyrus asks: two that ask the same may be counted as one.

    Args:
        said: the datagram.
    """
    return _cyrus_event.parse_datagram_untrusted(said.data)
