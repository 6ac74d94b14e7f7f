"""What comes to a cluster: on a usual day, in a storm of logins, in a mass mailing. Pure."""

from collections.abc import Callable
from dataclasses import dataclass
from math import cos, exp, pi, sin
from typing import Final, NamedTuple

from bench.cluster.assumptions import HOURS, Day, Limits

__all__ = ["NOTHING", "Load", "Rates", "Wave", "hour_share", "usual"]

_HALF: Final = HOURS // 2


class Rates(NamedTuple):
    """What all nodes together have to do in one hour, by the second.

    Attributes:
        accounts: how many there are.
        notifications: mails.
        logins: logins.
        rings: mails for each address of the account.
        calls: rings that are a call at once, and calls because a silent target has logged in.
        retries: further calls to silent targets, if the back-off alone decided.
        silent: silent targets for which a ring waits.
        joins: share of the rings that join one which waits for a silent target.
        fresh: share of the accounts with a login that counts.
    """

    accounts: float
    notifications: float
    logins: float
    rings: float
    calls: float
    retries: float
    silent: float
    joins: float
    fresh: float


def hour_share(day: Day, hour: int) -> float:
    """Return which share of a day's mails and logins an hour has.

    Args:
        day: the day.
        hour: 0 to 23.
    """
    if not 8 <= hour < 20:
        return (1 - day.by_day) / _HALF
    # A cosine has the mean 0 over the 12 hours, so that these keep their share of the day.
    swing = (day.peak - 1) * cos(2 * pi * (hour - day.busiest) / _HALF)
    return day.by_day / _HALF * (1 + swing)


def usual(day: Day, limits: Limits, accounts: float, hour: int) -> Rates:
    """Return what an hour of a usual day brings.

    The logins of an account come at any moment, independent of each other. So an account that
    is used has none within the time for which one counts with the probability exp(-mean).

    A ring for a silent target waits until the target logs in again, which makes one more call,
    or until it is too old. Rings that come meanwhile join it.

    Args:
        day: the day.
        limits: of a node.
        accounts: how many.
        hour: 0 to 23.
    """
    share = hour_share(day, hour) / 3600
    notifications, logins = accounts * day.mails * share, accounts * day.logins * share
    fresh = day.used * (1 - exp(-day.logins / day.used * share * limits.ttl))
    waits = 1 - exp(-day.mails * share * limits.ttl)  # a mail has come in this time
    return _rates(day, limits, accounts, notifications, logins, fresh, day.silent * waits)


def _rates(
    day: Day, limits: Limits, accounts: float, notifications: float, logins: float, fresh: float,
    joins: float,
) -> Rates:  # fmt: skip
    rings = notifications * fresh * day.mean_addresses
    first = rings * (day.silent - joins) + logins * joins
    return Rates(
        accounts=accounts,
        notifications=notifications,
        logins=logins,
        rings=rings,
        calls=rings * (1 - day.silent) + first,
        retries=first * limits.retries,
        silent=accounts * fresh * day.mean_addresses * joins,
        joins=joins,
        fresh=fresh,
    )


class Wave(NamedTuple):
    """Something that happens once for each of many accounts.

    Attributes:
        begins: when, in seconds.
        seconds: how long it lasts.
        total: for how many accounts of one node.
        is_bell: whether the rate rises and falls; else it is the same all the time.
    """

    begins: float
    seconds: float
    total: float
    is_bell: bool

    def rate(self, now: float) -> float:
        """Return how many a second.

        Args:
            now: in seconds.
        """
        passed = (now - self.begins) / self.seconds
        if not 0 <= passed < 1:
            return 0.0
        return self.total / self.seconds * (1 - cos(2 * pi * passed) if self.is_bell else 1)

    def done(self, now: float) -> float:
        """Return the share that has happened.

        Args:
            now: in seconds.
        """
        passed = min(max((now - self.begins) / self.seconds, 0.0), 1.0)
        return passed - sin(2 * pi * passed) / (2 * pi) if self.is_bell else passed

    @property
    def most(self) -> float:
        """The highest rate."""
        return self.total / self.seconds * (2 if self.is_bell else 1)


NOTHING: Final = Wave(0.0, 1.0, 0.0, is_bell=False)
"""A wave that brings nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What comes to one node.

    Attributes:
        notifications: mails a second.
        logins: logins a second.
        retries: calls a second to silent targets that were called before.
        joins: share of the rings for silent targets at which one waits, and of the logins from
            such targets.
        fresh: share of the accounts with a login that counts.
        addresses: shares of these accounts with one, two, ... addresses.
        ttl: seconds for which a login counts.
        storm: logins beside the usual ones.
        mailing: mails beside the usual ones.
    """

    notifications: float
    logins: float
    retries: float
    joins: float
    fresh: float
    addresses: tuple[float, ...]
    ttl: float
    storm: Wave = NOTHING
    mailing: Wave = NOTHING

    @classmethod
    def of(cls, rates: Rates, nodes: int, day: Day, limits: Limits, **waves: Wave) -> "Load":
        """Return one node's part.

        Args:
            rates: of all nodes together.
            nodes: how many there are.
            day: the day.
            limits: of a node.
            waves: `storm` and `mailing`, for one node.
        """
        return cls(
            notifications=rates.notifications / nodes,
            logins=rates.logins / nodes,
            retries=min(rates.retries / nodes, limits.retry_rate),
            joins=rates.joins,
            fresh=rates.fresh,
            addresses=day.addresses,
            ttl=limits.ttl,
            **waves,
        )

    def fresh_at(self, now: float) -> float:
        """Return the share of the accounts with a login that counts.

        Args:
            now: in seconds.
        """
        if not self.storm.total:
            return self.fresh
        lately = self.storm.done(now) - self.storm.done(now - self.ttl)
        return 1 - (1 - self.fresh) * (1 - lately)

    def rates_at(self, now: float, nodes: int, accounts: float, day: Day, limits: Limits) -> Rates:
        """Return what all nodes together have to do at a moment.

        Args:
            now: in seconds.
            nodes: how many there are, all alike.
            accounts: how many.
            day: the day.
            limits: of a node.
        """
        notifications = nodes * (self.notifications + self.mailing.rate(now))
        logins = nodes * (self.logins + self.storm.rate(now))
        fresh = self.fresh_at(now)
        return _rates(day, limits, accounts, notifications, logins, fresh, self.joins)

    @property
    def streams(self) -> tuple[tuple[Callable[[float], float], float], ...]:
        """The rates of usual mails, mailed ones, logins and retries, each with its most."""
        return (
            (lambda _: self.notifications, self.notifications),
            (self.mailing.rate, self.mailing.most),
            (lambda now: self.logins + self.storm.rate(now), self.logins + self.storm.most),
            (lambda _: self.retries, self.retries),
        )
