"""What the results say in the units of the tables: for a day, for an hour.

A part is extrapolated: a laptop is watched for some minutes, and what it had in that time is taken
for the whole day. What happens more seldom is added from what was measured once: an IDLE is begun
again each 29 minutes (RFC 2177), and `mailbell run` looks each hour (its `poll`).
"""

from typing import Final, NamedTuple

from bench.push.record import Burst, Run, Way, Wire

__all__ = ["HOURLY", "REIDLE", "Idle", "Line", "idle_of", "lines", "look"]

DAY: Final = 86_400
HOUR: Final = 3600
REIDLE: Final = 29 * 60  # seconds, RFC 2177
HOURLY: Final = HOUR  # seconds, the default of `poll` of mailbell run
_MAILBELL: Final = "mailbell"


class Idle(NamedTuple):
    """What a user costs to whom nothing happens.

    Attributes:
        octets: bytes a day with the headers of IP and TCP, in both directions.
        payload: bytes a day that TCP carries.
        wakes: how often an hour packets cross the cable.
        arriving: packets an hour that reach the laptop.
        ran: how often an hour its listening processes ran.
    """

    octets: float
    payload: float
    wakes: float
    arriving: float
    ran: float


def _times(burst: Burst | None, interval: float) -> tuple[float, float, float, float]:
    """Return bytes and payload a day, and occasions and packets an hour."""
    if burst is None or not interval:
        return (0.0, 0.0, 0.0, 0.0)
    return (
        burst.octets * DAY / interval,
        burst.payload * DAY / interval,
        HOUR / interval,
        burst.arriving * HOUR / interval,
    )


def look(run: Run, *, tls: bool) -> Burst | None:
    """Return what one look by IMAP takes, from connecting to logging out."""
    return next((w.each for w in run.wires if w.name.startswith("IMAP") and w.tls == tls), None)


def idle_of(run: Run, wire: Wire, *, tls: bool, hourly: bool = True) -> Idle:
    """Return what an idle user costs.

    Args:
        run: the results.
        wire: the laptop.
        tls: whether the hourly look of who is rung is by TLS; a ring never is.
        hourly: whether there is such a look.
    """
    parts = [_times(wire.each, wire.interval)]
    if wire.again:
        parts.append(_times(wire.again, REIDLE))
    if wire.name == _MAILBELL and hourly:
        parts.append(_times(look(run, tls=tls), HOURLY))
    octets, payload, wakes, arriving = (sum(column) for column in zip(*parts, strict=True))
    return Idle(octets, payload, wakes, arriving, sum(wire.ran.values()) * HOUR / wire.seconds)


class Line(NamedTuple):
    """A line of the table: a way with many users, and a laptop that waits in the same way.

    Attributes:
        way: with many users.
        tls: the laptop with TLS; for who is rung, the same as `plain`.
        plain: the laptop without it.
    """

    way: Way
    tls: Wire
    plain: Wire


def lines(run: Run) -> list[Line]:
    """Return the ways for which all is known: mailbell first, then IDLE, then polling."""
    found = []
    for way in run.ways:
        name = _MAILBELL if way.name.startswith(_MAILBELL) else way.name
        own = {wire.tls: wire for wire in run.wires if wire.name == name}
        if own and way.told:
            found.append(Line(way, own.get(True, own[False]), own[False]))
    order = (_MAILBELL, "IDLE", "IMAP", "POP3")
    return sorted(found, key=lambda line: order.index(line.way.name.partition(",")[0]))
