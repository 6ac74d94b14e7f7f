"""Turns the calls on the control socket into what the other parts of the sender understand.

A call is an input like a line on the hook's socket: it passes the same reception, and has one
counted outcome. Pure: the clock and the status are arguments.
"""

from collections.abc import Callable
from typing import Protocol

from mailbell.core.sender_outcome import InputOutcome
from mailbell.interfaces.sender import Step
from mailbell.interfaces.sender_status import Status
from mailbell.sender._accounts import Account, Accounts
from mailbell.sender._requests import Malformed, NewMail, Request, read_login
from mailbell.sender._speakers import Origin, Speaker

__all__ = ["Explainer", "Receiver", "SenderDesk"]


class Receiver(Protocol):
    """What takes each input: the reception."""

    def take(self, request: Request | Malformed, speaker: Speaker, now: float) -> InputOutcome:
        """Decide about one input, and count its outcome."""


class Explainer(Protocol):
    """What knows the targets: the bell."""

    def explain(self, account: Account, now: float, /) -> tuple[Step, ...]:
        """Tell what a notification would do now, target by target."""


class SenderDesk:
    """Answers what the calls ask.

    Args:
        accounts: finds the account that a call names.
        reception: takes notifications and logins.
        bell: explains.
        clock: returns the time of the schedule, in seconds.
        status: returns the answer to `GetStatus`.
    """

    def __init__(
        self,
        *,
        accounts: Accounts,
        reception: Receiver,
        bell: Explainer,
        clock: Callable[[], float],
        status: Callable[[], Status],
    ) -> None:
        self._accounts = accounts
        self._reception = reception
        self._bell = bell
        self._clock = clock
        self.status = status

    def find(self, account: str) -> str | None:
        """Return the name that the sender knows an account by.

        Args:
            account: any text.

        Returns:
            The name; None: there is no such account, and no default.
        """
        found = self._accounts.find(account)
        return None if found is None else found.name

    def ring(self, account: str, uid: int) -> InputOutcome:
        """Take a notification.

        Args:
            account: any text but an empty one.
            uid: the user who calls.

        Returns:
            The counted outcome.
        """
        return self._take(NewMail(account), uid)

    def seen(self, account: str, address: str, uid: int) -> InputOutcome:
        """Take a login.

        Args:
            account: any text but an empty one.
            address: any text.
            uid: the user who calls.

        Returns:
            The counted outcome.
        """
        return self._take(read_login(account, address), uid)

    def explain(self, account: str) -> tuple[Step, ...]:
        """Tell what a notification would do now.

        Args:
            account: a name that `find` has returned.

        Returns:
            The targets; none if there is no such account any more.
        """
        found = self._accounts.find(account)
        return () if found is None else self._bell.explain(found, self._clock())

    def _take(self, request: Request | Malformed, uid: int) -> InputOutcome:
        return self._reception.take(request, Speaker(uid, Origin.CONTROL), self._clock())
