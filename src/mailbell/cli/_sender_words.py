"""Says in words what a notification would do at a target, and what came of one.

Pure: records of `org.mailbell.Sender` come in, and sentences go out.
"""

import math
from collections.abc import Mapping
from typing import Final

from mailbell.core.escape import printable
from mailbell.core.sender_outcome import RingOutcome
from mailbell.interfaces.sender import Origin, RingResult, Step, Verdict

__all__ = ["IS_RUNG", "describe_result", "describe_step", "remedy_of_result", "remedy_of_step"]

IS_RUNG: Final = frozenset({Verdict.RING, Verdict.HELD_BACK, Verdict.IN_FLIGHT})
"""The verdicts after which a notification is sent."""

_VERDICTS: Final[Mapping[Verdict, str]] = {
    Verdict.RING: "is rung at once",
    Verdict.HELD_BACK: "is rung {wait}, because it was rung a moment ago (send.interval)",
    Verdict.IN_FLIGHT: "is being rung now, and again after that",
    Verdict.BACKING_OFF: "is NOT rung now: the last attempt failed ({last}), the next is {wait}",
    Verdict.NOT_ALLOWED: "is NOT rung: it is never called{reason}",
    Verdict.NO_ADDRESS: "is NOT rung: nobody has looked for mail lately",
    Verdict.DISABLED: "is NOT rung: the account is switched off",
}

_STEP_REMEDIES: Final[Mapping[Verdict, str]] = {
    Verdict.BACKING_OFF: "a login from there ends the wait: look for mail there, or wait",
    Verdict.NOT_ALLOWED: "permit it with last_used.allow, if it is meant",
    Verdict.NO_ADDRESS: "look for mail now; if it stays so, the mail server does not tell of"
    " logins: mailbell-hook --login, or Dovecot's exporter",
    Verdict.DISABLED: "set the account's enabled to true",
}

_RESULTS: Final[Mapping[RingOutcome, str]] = {
    RingOutcome.SENT: "was rung, in {took}",
    RingOutcome.COALESCED: "is rung soon: one ring stands for several notifications",
    RingOutcome.REFUSED: "could NOT be rung: nothing listens there (after {took})",
    RingOutcome.UNREACHABLE: "could NOT be rung: the network has no way there (after {took})",
    RingOutcome.TIMEOUT: "could NOT be rung: no answer within send.deadline (after {took})",
    RingOutcome.RESET: "could NOT be rung: the connection was reset (after {took})",
    RingOutcome.BACKING_OFF: "was NOT rung: it failed before, and is tried again later",
    RingOutcome.NO_TARGET: "nobody was rung: the account has no target now",
    RingOutcome.EXPIRED: "was NOT rung: the notification waited too long",
    RingOutcome.NOT_ALLOWED: "was NOT rung: it is an address that is never called",
    RingOutcome.NAME_UNKNOWN: "could NOT be rung: its name has no address",
}

_RESULT_REMEDIES: Final[Mapping[RingOutcome, str]] = {
    RingOutcome.REFUSED: "start mailbelld there, or correct the port",
    RingOutcome.UNREACHABLE: "look at the route, and at this service's IPAddressDeny=",
    RingOutcome.TIMEOUT: "let the port in at the firewall there, or wake the machine",
    RingOutcome.RESET: "look at mailbelld's log there: it may refuse this host (sources.allow)",
    RingOutcome.NOT_ALLOWED: "permit it with last_used.allow, if it is meant",
    RingOutcome.NAME_UNKNOWN: "correct the name, or see whether the name server answers",
}


def describe_step(step: Step) -> str:
    """Say what a notification would do at one target.

    Args:
        step: from the answer to `Explain`.

    Returns:
        A sentence without its period. It is printable.
    """
    told = _VERDICTS[step.verdict].format(
        wait=_wait(step.wait),
        last="unknown" if step.last is None else step.last.value,
        reason="" if step.reason is None else f" ({printable(step.reason)})",
    )
    return f"{_subject(step)} {told}"


def _subject(step: Step) -> str:
    if step.target is None:
        return "the address of the last login" if step.origin is Origin.LAST_USED else "the target"
    target = printable(step.target)
    if step.origin is Origin.CONFIGURED:
        return target
    if step.seen is None:
        return f"{target} (a login)"
    return f"{target} (a login {_time(step.seen / 1e6)} ago)"


def _wait(microseconds: int | None) -> str:
    return "soon" if microseconds is None else f"in {_time(math.ceil(microseconds / 1e6))}"


def _time(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.0f} h"


def describe_result(result: RingResult) -> str:
    """Say what came of a notification at one target.

    Args:
        result: from the answer to `Watch`.

    Returns:
        A sentence without its period. It is printable.
    """
    took = f"{result.milliseconds:.1f} ms" if result.milliseconds < 10 else None
    told = _RESULTS[result.outcome].format(took=took or f"{result.milliseconds:.0f} ms")
    if result.outcome is RingOutcome.SENT and (result.target or "").endswith("/udp"):
        told = "was sent a datagram; nothing tells whether it arrived"
    return told if result.target is None else f"{printable(result.target)} {told}"


def remedy_of_step(step: Step) -> str:
    """Return what to do about a target that is not rung; empty: nothing.

    Args:
        step: from the answer to `Explain`.
    """
    return _STEP_REMEDIES.get(step.verdict, "")


def remedy_of_result(result: RingResult) -> str:
    """Return what to do about a target that was not rung; empty: nothing.

    Args:
        result: from the answer to `Watch`.
    """
    return _RESULT_REMEDIES.get(result.outcome, "")
