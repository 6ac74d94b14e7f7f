"""What becomes of a connection to a local socket, by the pure parts of mailbell."""

from collections.abc import Callable, Collection, Sequence
from typing import Final, NamedTuple

import msgspec

from mailbell import varlink
from mailbell.interfaces import listener, sender
from torture.inputs.channel import Verdict
from torture.inputs.speaking import Input

__all__ = ["ByInterface", "Exchange", "end_of_stream", "verdicts"]

_AT_ONCE: Final = 10
"""Calls that a connection may make at once; the daemon knows no shorter time than a second."""


class Exchange(NamedTuple):
    """What a daemon answers, and how it ends the connection.

    Attributes:
        replies: the name of the error, or "" for a result, for each call that has an answer.
        end: the `LocalEvent`; several: the timing decides between them.
        outcomes: what the calls count as, if they are inputs of mailbell-sender.
        streams: whether the last answer begins a stream, which may end before that answer.
    """

    replies: tuple[str, ...]
    end: str | tuple[str, ...]
    outcomes: tuple[str, ...] = ()
    streams: bool = False


def verdicts(found: Exchange) -> Sequence[Verdict]:
    """Return what the daemon counts for a connection.

    Args:
        found: what becomes of it.
    """
    inputs = [(f"input {outcome}",) for outcome in found.outcomes]
    end = (found.end,) if isinstance(found.end, str) else found.end
    return [("connected",), end, *inputs]


def end_of_stream(rest: bytes) -> str | tuple[str, ...]:
    """Return how a connection ends whose caller says more after a call that begins a stream.

    Another call is one too many. The beginning of one is too, unless it came together with the
    call before it.

    Args:
        rest: what is said.
    """
    if not rest:
        return "disconnected"
    return "bad_call" if b"\0" in rest else ("bad_call", "disconnected")


class _EndedError(Exception):
    """The daemon closes the connection; the text is the `LocalEvent`."""


class ByInterface:
    """The codec, the interfaces and their checks.

    Args:
        service: the interfaces of the daemon.
        accounts: those that mailbelld has; none: the daemon is mailbell-sender.
        take: says what a call of `Ring` or `Seen` counts as; mailbelld has no such call.
        knows: tells whether mailbell-sender has an account.
    """

    def __init__(
        self,
        service: varlink.Service,
        *,
        accounts: Collection[str] = (),
        take: Callable[[sender.Ring | sender.Seen], str] = repr,
        knows: Callable[[str], bool] = bool,
    ) -> None:
        self._service = service
        self._accounts = accounts
        self._take = take
        self._knows = knows

    def talk(self, said: Input) -> Exchange:
        """Return what becomes of a connection.

        Args:
            said: all of it.
        """
        try:
            messages = varlink.Decoder(varlink.CALL_LIMIT).feed_untrusted(said.data)
        except varlink.MessageTooLong:
            return Exchange((), "too_long")
        if len(messages) > _AT_ONCE:
            return Exchange((), "too_fast")
        replies: list[str] = []
        outcomes: list[str] = []
        for place, message in enumerate(messages):
            try:
                error, is_stream, is_silent = self._one(message, outcomes)
            except _EndedError as ended:
                return Exchange(tuple(replies), str(ended), tuple(outcomes))
            if is_stream:
                rest = said.data.split(b"\0", place + 1)[place + 1]
                return Exchange((*replies, ""), end_of_stream(rest), tuple(outcomes), streams=True)
            replies += [] if is_silent else [error]
        return Exchange(tuple(replies), "disconnected", tuple(outcomes))

    def _one(self, message: bytes, outcomes: list[str]) -> tuple[str, bool, bool]:
        """Return the error of one call, whether it begins a stream, and whether it is silent."""
        try:
            call = varlink.parse_call_untrusted(message)
        except varlink.ProtocolError:
            raise _EndedError("garbage") from None
        try:
            is_stream = self._answer(self._service.decode_untrusted(call), outcomes)
        except varlink.ServiceError as refusal:
            return refusal.name, False, call.oneway
        except varlink.ProtocolError:
            raise _EndedError("bad_call") from None
        return "", is_stream, call.oneway

    def _answer(self, request: msgspec.Struct, outcomes: list[str]) -> bool:
        """Do what the daemon does; return whether a stream begins."""
        if isinstance(request, listener.Subscribe | sender.Watch):
            self._require(request)
            return True
        if isinstance(request, sender.Ring | sender.Seen):
            outcome = self._take(request)
            outcomes.append(outcome)
            if outcome == "unknown_account":
                raise sender.unknown_account(request.account)
            if outcome != "accepted":
                raise varlink.ServiceError(f"{sender.SENDER}.NotAccepted")
            return False
        self._require(request)
        self._service.answer(request)
        return False

    def _require(self, request: msgspec.Struct) -> None:
        """Refuse an account that the daemon does not have."""
        if isinstance(request, listener.Notify):
            names: Sequence[str] = (request.account,)
        elif isinstance(request, listener.Subscribe):
            names = request.accounts
        elif isinstance(request, sender.Explain) or (
            isinstance(request, sender.Watch) and request.account is not None
        ):
            if not self._knows(str(request.account)):
                raise sender.unknown_account(str(request.account))
            return
        else:
            return
        if unknown := [name for name in names if name not in self._accounts]:
            raise listener.unknown_account(unknown[0])
