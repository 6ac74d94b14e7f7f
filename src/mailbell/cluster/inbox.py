"""What is written into the inboxes of nodes, and what is read there. Pure.

Times are seconds since 1970, by the clock of the node that writes or reads. The nodes' clocks
may differ by some seconds: then a login counts for some seconds more or less.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from mailbell.cluster.messages import (
    Call,
    Login,
    Place,
    Ring,
    Welcome,
    is_account,
    read_target,
    write_target,
)
from mailbell.core.networks import Address, parse_address
from mailbell.core.target import Target

__all__ = ["Arrived", "Logins", "destination", "entries", "read"]

Logins = Sequence[tuple[str, float]]
"""The addresses of an account, each with the time of its login."""

_FOREVER: Final = 10.0 * 365 * 86_400


class Arrived(NamedTuple):
    """One entry of an inbox.

    Attributes:
        message: for the sender.
        ring: what names it: one ring at one target has the same name each time it is said.
            None: to take it twice does no harm.
        waited: seconds that it was in the inbox; 0 where clocks differ.
    """

    message: Call | Welcome
    ring: tuple[str, str] | None = None
    waited: float = 0.0


def entries(
    message: Ring | Login,
    *,
    logins: Logins,
    is_new: bool,
    prefix: str,
    owner: Callable[[str], str],
    now: float,
    ttl: float,
) -> Iterator[tuple[str, Mapping[str, str]]]:
    """Return what a message of the sender puts into inboxes.

    Args:
        message: of the sender.
        logins: those of the account of a ring.
        is_new: whether the engine has learnt the address of a login from it.
        prefix: of the names of this run's rings.
        owner: returns the node that rings a target.
        now: the time.
        ttl: seconds for which a login counts.

    Yields:
        A node, and the fields of an entry of its inbox.
    """
    name = f"{prefix}/{message.number}"
    if isinstance(message, Login):
        for target in (*message.targets, *_at(message.address, message.places)):
            yield owner(target), {"login": target}
    for target, until in _to_call(message, logins, is_new, now, ttl):
        yield (
            owner(target),
            {
                "account": message.account,
                "target": target,
                "ring": name,
                "since": f"{now:.3f}",
                "until": f"{until:.3f}",
            },
        )


def _to_call(
    message: Ring | Login, logins: Logins, is_new: bool, now: float, ttl: float
) -> Iterator[tuple[str, float]]:
    """Yield the targets that are to be called, each once, and until when."""
    if isinstance(message, Login):
        logins = [(message.address, now - message.age)] if message.is_late and is_new else []
    else:
        for target in message.targets:
            yield target, math.inf
        logins = [each for each in logins if each[0] not in message.rung]
    for address, when in logins:
        if when + ttl > now:
            for target in _at(address, message.places):
                if target not in message.targets:
                    yield target, when + ttl


def read(fields: Mapping[str, str], now: float, ttl: float) -> Arrived | None:
    """Read an entry.

    Args:
        fields: of the entry.
        now: the time.
        ttl: seconds for which a login counts.

    Returns:
        What arrived. None: no node of this version wrote it, or the login counts no more.
    """
    target = destination(fields)
    if read_target(target) is None:
        return None
    if "login" in fields:
        return Arrived(Welcome(target))
    try:
        since, until = float(fields["since"]), float(fields["until"])
        account, name = fields["account"], fields["ring"]
    except (KeyError, ValueError):
        return None
    if not is_account(account):
        return None
    left = None if until == math.inf else until - now
    # Whatever is not a time is not one that has an end in some years.
    if left is not None and not 0 < left < _FOREVER:
        return None
    waited = now - since
    return Arrived(
        Call(account, target, None if left is None else min(left, ttl)),
        (name, target),
        waited if 0 < waited < _FOREVER else 0.0,
    )


def destination(fields: Mapping[str, str]) -> str:
    """Return the target of an entry, by which its node is chosen anew.

    Args:
        fields: of the entry.
    """
    return fields.get("target", fields.get("login", ""))


def _at(address: str, places: Iterable[Place]) -> Iterator[str]:
    try:
        host = Address(*parse_address(address))
    except ValueError:  # no node of this version wrote it
        return
    for place in places:
        yield write_target(Target(host, place.port, place.transport))
