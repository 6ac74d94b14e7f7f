"""`mailbell sender test`: what would be rung and why, and what comes of it."""

import time
from collections.abc import Iterable, Sequence

import click

from mailbell.cli._common import Seconds, complete_mailbox, sender_socket_option
from mailbell.cli._sender_words import (
    IS_RUNG,
    describe_result,
    describe_step,
    remedy_of_result,
    remedy_of_step,
)
from mailbell.core.errors import TemporaryError, UnavailableError
from mailbell.core.escape import printable
from mailbell.core.sender_outcome import RingOutcome
from mailbell.interfaces.sender import RingResult, Step
from mailbell.sender_client import Client, Watching

__all__ = ["command", "judge"]

# Seconds. By default the deadline of an attempt is 2 s, as is the interval before it.
_PATIENCE = 10.0

# After these, more is heard of the target soon.
_NOT_THE_END = frozenset({RingOutcome.COALESCED})


def _explain(account: str, steps: Sequence[Step]) -> Iterable[str]:
    number = len(steps)
    yield f"1. {printable(account)} has {number or 'no'} target{'' if number == 1 else 's'}"
    for step in steps:
        yield f"   {describe_step(step)}"
        if remedy := remedy_of_step(step):
            yield f"      -> {remedy}"


def _results(
    watching: Watching, waited: set[str], deadline: float
) -> Iterable[tuple[RingResult, Iterable[str]]]:
    """Yield each ring, and its lines, until every target has been heard of, or the deadline."""
    waited = set(waited)
    while waited:
        try:
            ring = watching.next(max(deadline - time.monotonic(), 0.0))
        except TemporaryError:
            return
        yield ring, _lines(ring)
        if ring.target is None:
            return
        if ring.outcome not in _NOT_THE_END:
            waited.discard(ring.target)


def _lines(ring: RingResult) -> Iterable[str]:
    yield f"   {describe_result(ring)}"
    if remedy := remedy_of_result(ring):
        yield f"      -> {remedy}"


def judge(waited: set[str], outcomes: dict[str, RingOutcome]) -> None:
    """Raise what the results amount to.

    Args:
        waited: the targets that were to be rung.
        outcomes: how the last attempt at each target ended.

    Raises:
        UnavailableError: nobody was rung.
        TemporaryError: some were rung, and others were not.
    """
    sent = [one for one in waited if outcomes.get(one) is RingOutcome.SENT]
    if not sent:
        raise UnavailableError("nobody was rung", "see above for the reasons")
    silent = sorted(one for one in waited if one not in sent)
    if silent:
        targets = ", ".join(map(printable, silent))
        raise TemporaryError(f"not rung: {targets}", "see above for the reasons")


_EXAMPLES = """\b
Examples:
  mailbell sender test anna@example.org
  mailbell sender test anna --timeout 60"""


_HELP = """\
Say what a notification for ACCOUNT does, send it, and say what came of it.

First come the targets, with the reason why each is or is not rung. Then the
account is rung as if mail had arrived, and each attempt is told with its
outcome and a remedy. Exit code 0: all that can be rung were rung; 75: some
were not; 69: none was, or there is no sender."""


@click.command(
    help=_HELP, epilog=_EXAMPLES, short_help="Say step by step what a notification does."
)
@click.argument("account", shell_complete=complete_mailbox)
@click.option(
    "--timeout",
    type=Seconds(),
    metavar="SECONDS",
    default=_PATIENCE,
    show_default=True,
    help="Wait so long for the outcomes, at most a year.",
)
@sender_socket_option
def command(account: str, timeout: float, socket_path: str | None) -> None:
    """Say what a notification for ACCOUNT does, send it, and say what came of it."""
    client = Client(socket_path)
    explained = client.explain(account)
    for line in _explain(explained.account, explained.steps):
        click.echo(line)
    waited = {one.target for one in explained.steps if one.target and one.verdict in IS_RUNG}
    outcomes: dict[str, RingOutcome] = {}
    with client.watch(account) as watching:
        client.ring(account)
        click.echo("2. the sender has accepted a notification, as from a mail server")
        click.echo("3. what came of it" if waited else "3. nothing can be rung now")
        for ring, lines in _results(watching, waited, time.monotonic() + timeout):
            for line in lines:
                click.echo(line)
            if ring.target is not None:
                outcomes[ring.target] = ring.outcome
    for target in sorted(waited - outcomes.keys()):
        click.echo(f"   {printable(target)}: nothing was heard within {timeout:g} seconds")
    judge(waited, outcomes)
