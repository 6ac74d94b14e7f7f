"""What comes beside the usual load: every account logs in, or every account gets a mail. Pure.

An hour of it is millions of messages. So it is simulated with many of them at once, which
shows the queues. A minute in which no queue can grow is then simulated again, message by message,
for some seconds with the load of that minute. So short delays are exact too.
"""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from math import ceil
from typing import Final, NamedTuple

import msgspec

from bench.cluster.capacity import (
    Setting,
    Size,
    book_bytes,
    engine_uses,
    node_uses,
    size_for,
)
from bench.cluster.load import NOTHING, Load, Rates, Wave
from bench.cluster.model import Call, Kind, Node, Outcome, simulate
from bench.cluster.record import Delay, Event, Minute

__all__ = ["mailing", "monday", "surges"]

_MIB: Final = 1 << 20
_BEFORE: Final = 120.0  # seconds of the usual load
_AFTER: Final = 300.0
_LONGEST: Final = 3 * 3600.0
_MESSAGES: Final = 60_000
_STEP: Final = 60.0
# Of a minute as many seconds are simulated message by message as have so many messages.
_FINE: Final = (1.0, 2.0, 5.0, 10.0, 30.0, 60.0)
_ENOUGH: Final = 500
# Below this share a queue is gone long before a second is over.
_CALM: Final = 0.9
# Seconds of p50 and p99. Many messages at once make a delay of up to these, and no longer one.
_SHORT: Final = (1.0, 10.0)


class _Surge(NamedTuple):
    """What is simulated.

    Attributes:
        name: for people.
        setting: costs and limits.
        rates: of the usual load, of all nodes together.
        size: of the cluster.
        wave: what comes beside it.
        load: of one node, with the wave.
    """

    name: str
    setting: Setting
    rates: Rates
    size: Size
    wave: Wave
    load: Load

    @property
    def node(self) -> Node:
        """What a message costs."""
        return Node.of(self.setting, self.size)

    def rates_at(self, now: float) -> Rates:
        """Return what all nodes together have to do at a moment."""
        _, day, limits, _ = self.setting
        return self.load.rates_at(now, self.size.nodes, self.rates.accounts, day, limits)

    def uses_at(self, now: float) -> dict[str, float]:
        """Return the share of each resource that is asked for at a moment."""
        return _uses(self.setting, self.rates_at(now), self.size)

    def needs(self) -> Size:
        """Return the cluster in which nothing waits for long."""
        machines = msgspec.structs.replace(self.setting.machines, most=_CALM)
        setting = self.setting._replace(machines=machines)
        sizes = [size_for(setting, self.rates_at(each)) for each in self.moments]
        return Size(max(each.nodes for each in sizes), max(each.shards for each in sizes))

    @property
    def moments(self) -> list[float]:
        """Moments that are spread over the wave."""
        return [self.wave.begins + self.wave.seconds * part / 60 for part in range(61)]


def surges(setting: Setting, rates: Rates, size: Size) -> Iterator[Event]:
    """Yield the storm of logins, and each mass mailing.

    Args:
        setting: costs and limits.
        rates: of the busiest hour, in which they come.
        size: of the cluster.
    """
    yield monday(setting, rates, size)
    for seconds in setting.day.mailings:
        yield mailing(setting, rates, size, seconds)


def monday(setting: Setting, rates: Rates, size: Size) -> Event:
    """Let every account log in.

    Args:
        setting: costs and limits.
        rates: of the usual load.
        size: of the cluster.
    """
    wave = Wave(_BEFORE, setting.day.storm, rates.accounts / size.nodes, is_bell=True)
    load = Load.of(rates, size.nodes, setting.day, setting.limits, storm=wave)
    return _event(_Surge("Monday morning", setting, rates, size, wave, load))


def mailing(setting: Setting, rates: Rates, size: Size, seconds: float) -> Event:
    """Deliver one mail to every account.

    Args:
        setting: costs and limits.
        rates: of the usual load.
        size: of the cluster.
        seconds: for all mails.
    """
    wave = Wave(_BEFORE, seconds, rates.accounts / size.nodes, is_bell=False)
    load = Load.of(rates, size.nodes, setting.day, setting.limits, mailing=wave)
    name = f"a mail to everybody within {seconds / 60:.0f} min"
    return _event(_Surge(name, setting, rates, size, wave, load))


def _event(surge: _Surge) -> Event:
    wave, load, size = surge.wave, surge.load, surge.size
    asked = [surge.uses_at(each) for each in surge.moments]
    uses = {name: max(each[name] for each in asked) for name in asked[0]}
    before = _uses(surge.setting, surge.rates, size)
    seconds = wave.begins + wave.seconds + _AFTER + _drains(uses, before, wave)
    grain = max(1, round(((load.notifications + load.logins) * seconds + wave.total) / _MESSAGES))
    outcome = simulate(surge.node, load, seconds, grain=grain, step=_STEP)
    event = Event(
        name=surge.name,
        seconds=wave.seconds,
        grain=grain,
        uses=uses,
        nodes=(needs := surge.needs()).nodes,
        shards=needs.shards,
        fresh=max(map(load.fresh_at, surge.moments)),
        expired=outcome.expired / max(outcome.targets + outcome.woken, 1),
        requests=max(each.requests for each in outcome.moments),
        inbox=max(each.inbox for each in outcome.moments),
        calls=max(each.calls for each in outcome.moments),
    )
    return _with_memory(_with_delays(event, surge, outcome, seconds), surge)


def _with_memory(event: Event, surge: _Surge) -> Event:
    costs, size = surge.setting.costs, surge.size
    book = surge.rates.accounts * event.fresh * book_bytes(costs, surge.setting.day)
    inboxes = event.inbox * costs.inbox_entry * size.nodes
    return msgspec.structs.replace(
        event, inbox_mib=inboxes / size.shards / _MIB, book_mib=book / size.shards / _MIB
    )


def _with_delays(event: Event, surge: _Surge, outcome: Outcome, seconds: float) -> Event:
    begins, minutes = surge.wave.begins, _by_minute(outcome.calls, seconds)
    calls = [call for each in _refined(surge, minutes) for call in each]
    mailed = [call for call in calls if call.kind is Kind.MAILING]
    others = [call for call in calls if call.kind is Kind.USUAL]
    ends = max((call.born + call.delay for call in mailed), default=0.0)
    ends = max(ends, begins + event.seconds)
    return msgspec.structs.replace(
        event,
        before=Delay.of(call for call in others if call.born < begins),
        during=Delay.of(call for call in others if begins <= call.born < ends),
        mailed=Delay.of(mailed),
        over=ends - begins,
        minutes=tuple(_minutes(outcome, others, surge.wave, len(minutes))),
    )


def _uses(setting: Setting, rates: Rates, size: Size) -> dict[str, float]:
    return node_uses(setting, rates, size.nodes) | engine_uses(setting, rates, size)


def _drains(top: dict[str, float], before: dict[str, float], wave: Wave) -> float:
    """Return about how many seconds it takes until nothing waits any more after an event."""
    times = ((top[name] - 1) * wave.seconds / (1 - before[name]) for name in top)
    return min(max(0.0, *times), _LONGEST)


# --- minutes ------------------------------------------------------------------------------


def _by_minute(calls: Iterable[Call], seconds: float) -> list[list[Call]]:
    found: list[list[Call]] = [[] for _ in range(ceil(seconds / _STEP))]
    for call in calls:
        found[int(call.born / _STEP)].append(call)
    return found


def _refined(surge: _Surge, minutes: Iterable[list[Call]]) -> Iterator[list[Call]]:
    """Yield the calls of each minute; those of a calm one anew, message by message."""
    for number, calls in enumerate(minutes):
        begins = number * _STEP
        delay = Delay.of(calls)
        is_short = delay is None or (delay.p50 < _SHORT[0] and delay.p99 < _SHORT[1])
        if is_short and max(surge.uses_at(begins + _STEP / 2).values()) < _CALM:
            yield list(_message_by_message(surge, begins, seed=number))
        else:
            yield calls


def _message_by_message(surge: _Surge, begins: float, seed: int) -> Iterator[Call]:
    """Yield the calls of some seconds with the load of a minute, spread over all of it."""
    load, middle = surge.load, begins + _STEP / 2
    mails, logins = load.mailing.rate(middle), load.logins + load.storm.rate(middle)
    came = load.notifications + mails + logins
    seconds = next((each for each in _FINE if each * came >= _ENOUGH), _FINE[-1])
    steady = replace(
        load,
        logins=logins,
        fresh=load.fresh_at(middle),
        storm=NOTHING,
        mailing=Wave(0.0, seconds, mails * seconds, is_bell=False),
    )
    times = _STEP / seconds
    for call in simulate(surge.node, steady, seconds, seed=seed).calls:
        born = begins + call.born * times
        yield Call(born, call.delay, call.number * round(times), call.kind)


def _minutes(outcome: Outcome, others: list[Call], wave: Wave, count: int) -> Iterator[Minute]:
    found = _by_minute(others, count * _STEP)
    for moment, calls in zip(outcome.moments, found, strict=False):
        delay = Delay.of(calls)
        yield Minute(moment.at - wave.begins, delay, moment.requests, moment.inbox, moment.calls)
