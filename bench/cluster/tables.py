"""The results as tables for people."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

from bench.cluster.assumptions import Day, Limits, Machines
from bench.cluster.capacity import STATES
from bench.cluster.costs import Inputs
from bench.cluster.record import (
    PARTS,
    Cluster,
    Delay,
    Event,
    Hour,
    Idle,
    Run,
    Shared,
    Sweep,
    Throughput,
)
from bench.report import number

__all__ = ["report", "throughput_lines"]

_PICTURE: Final = "../bench/cluster/results.png"
_THROUGHPUT: Final = "Throughput of 1, 2, 3 nodes beside the engine's own limit"
_REMEDIES: Final = {
    "sender CPU": "one more node",
    "companion CPU": "one more node",
    "send.rate": "a higher `send.rate`, as long as the CPU is enough; then one more node",
    "send.connections": "more `send.connections`, or one more node",
    "engine CPU": "one more engine: Redis Cluster shares the slots among them",
    "engine memory": "more memory, or one more engine",
    STATES: "nothing: the silent targets that were called most are given up. More nodes keep more",
}


def report(run: Run, throughput: Throughput | None = None) -> str:
    """Return the text of docs/scale.md between its marks.

    Args:
        run: what was simulated.
        throughput: what was measured of real clusters; None: nothing was.
    """
    parts: list[str] = []
    measured = () if throughput is None else ((_THROUGHPUT, throughput_lines(throughput)),)
    for title, lines in (
        ("What was measured", _inputs(run.inputs)),
        *measured,
        ("What is assumed", _assumptions(run)),
        ("One node, one engine", _carried(run)),
        ("How large a cluster is", _sizes(run)),
        ("A usual day", _day(run)),
        ("Monday morning, and a mail to everybody", _events(run)),
        ("A node dies", _sweeps(run)),
        ("What breaks first, and what to do then", _breaks(run)),
        ("IMAP IDLE for the same people", _idle(run)),
    ):
        parts += [f"### {title}", "", *lines, ""]
    parts += [f"![{_alt(run)}]({_PICTURE})", ""]
    return "\n".join(parts)


# --- what goes in -----------------------------------------------------------------------------


def _inputs(inputs: Inputs) -> Iterator[str]:
    yield f"{inputs.machine}."
    yield ""
    rows = (
        (name.replace("_", " "), f"{_figure(each.value)} {each.unit}", str(each.when), each.how)
        for name, each in inputs.inputs.items()
    )
    yield from _table(("input", "value", "measured", "how"), rows, left={0, 3})


def _figure(value: float | None) -> str:
    if value is None:
        return "not measured"
    return f"{value:,.0f}" if value >= 1000 else number(value)


def throughput_lines(throughput: Throughput) -> Iterator[str]:
    """Yield what was measured of real clusters, and the engine's own benchmark beside it.

    Args:
        throughput: of one run.
    """
    cores = throughput.cores
    yield f"{throughput.machine}. Measured {throughput.when}."
    yield ""
    yield (
        f"All processes share these {cores} cores: the nodes, the engine, the hosts that are called"
        " and the mail servers' hooks. On machines of their own they would not. So the processor's"
        " time for each notification, in us, says more than the rate:"
    )
    yield ""
    yield from _table(
        ("nodes", "notifications a second", *PARTS, "all", f"cores busy, of {cores}",
         "rings that joined a call", "not shared"),
        map(_shared, throughput.shared),
    )  # fmt: skip
    yield ""
    yield "What the engine's own benchmark finds in the same run:"
    yield ""
    rows = ((name, _about(rate)) for name, rate in throughput.benchmark.items())
    yield from _table(("commands", "a second"), rows)


def _shared(each: Shared) -> tuple[str, ...]:
    return (
        str(each.nodes), _about(each.rate), *(number(each.cpu[part]) for part in PARTS),
        number(sum(each.cpu.values())), number(each.cores),
        _percent(each.joined / max(each.joined + each.sent, 1)), f"{each.alone:,}",
    )  # fmt: skip


def _assumptions(run: Run) -> Iterator[str]:
    rows = (*_of_day(run.day), *_of_machines(run.machines), *_of_limits(run.limits))
    yield from _table(("assumption", "value"), rows)


def _of_day(day: Day) -> Iterator[tuple[str, str]]:
    shares = ", ".join(_percent(share) for share in day.addresses)
    yield "mails a day for each account", number(day.mails)
    yield "logins a day for each account, used or not", number(day.logins)
    yield "accounts that somebody uses on a day", _percent(day.used)
    yield "mails and logins between 8 and 20 o'clock", _percent(day.by_day)
    yield (
        f"the busiest of these hours, from {day.busiest} o'clock on, by their mean",
        f"{number(day.peak)} times",
    )
    yield "accounts with 1, 2, 3, 4 addresses, of those with a login that counts", shares
    yield "addresses from which no answer comes", _percent(day.silent)
    yield (
        "Monday: every account logs in within; the rate is a bell, twice its mean at the top",
        _time(day.storm),
    )
    yield "a mail to everybody: within", " or ".join(_time(each) for each in day.mailings)


def _of_machines(machines: Machines) -> Iterator[tuple[str, str]]:
    yield "use of each resource in the busiest hour, at most", _percent(machines.most)
    yield "nodes beside those that this needs", str(machines.spare)
    yield "memory of an engine", f"{machines.shard_memory:,.0f} MiB"
    yield "a target that can be reached answers after", _time(machines.answer)


def _of_limits(limits: Limits) -> Iterator[tuple[str, str]]:
    first, longest = limits.backoff
    yield "`send.rate` of a node", f"{limits.rate:,.0f}/s"
    yield "`send.connections`", f"{limits.connections:,}"
    yield "`send.deadline`", _time(limits.deadline)
    yield "`send.interval`", _time(limits.interval)
    yield "back-off", f"{_time(first)} to {_time(longest)}"
    yield "`last_used.ttl`", _time(limits.ttl)
    yield "targets that have a state in a sender, at most", f"{limits.targets:,}"
    yield "messages that wait in a companion, at most", f"{limits.requests:,}"
    yield "nodes of a cluster, at most", f"{limits.nodes:,}"


# --- sizes --------------------------------------------------------------------------------------


def _carried(run: Run) -> Iterator[str]:
    most = _percent(run.machines.most)
    yield f"As many accounts as this use {most} of a resource in the busiest hour:"
    yield ""
    both = ((f"node: {k}", v) for k, v in run.node_carries.items())
    rows = [*both, *((f"engine: {k}", v) for k, v in run.shard_carries.items())]
    yield from _table(("resource", "accounts"), ((name, _about(each)) for name, each in rows))
    full = run.clusters[-1]
    hour = _busiest(run, full)
    commands = hour.commands / full.shards / full.uses["engine CPU"]
    benchmark = run.inputs.inputs["engine_operations"].value or 0.0
    yield ""
    yield (
        f"By these costs an engine is used up by {_about(commands)} commands a second as they are"
        f" mixed here. `redis-benchmark` has found {_about(benchmark)} of GET and SET."
    )


def _sizes(run: Run) -> Iterator[str]:
    yield from _table(
        ("accounts", "nodes", "engines", "address book", "all memory", "cores busy",
         "with an address", "mails", "logins", "commands", "calls", "delay p50, p99",
         "calmest hour"),
        (
            (_amount(each), f"{each.nodes:,}", f"{each.shards:,}", _mib(each.book_mib),
             _mib(each.mib), number(each.cores), *_hour(_busiest(run, each)), _pair(_calmest(each)))
            for each in run.clusters
        ),
    )  # fmt: skip
    large = [each for each in run.clusters if each.nodes > run.limits.nodes]
    yield ""
    yield "Mails, logins, commands of the engine and calls are those of a second."
    for each in large:
        most = run.limits.nodes
        yield f"{_amount(each)} accounts need more than one cluster: {most} nodes are the most."


def _hour(hour: Hour) -> tuple[str, ...]:
    return (
        _percent(hour.fresh), _about(hour.notifications), _about(hour.logins),
        _about(hour.commands), _about(hour.calls), _pair(hour.delay),
    )  # fmt: skip


def _busiest(run: Run, cluster: Cluster) -> Hour:
    return cluster.hours[run.day.busiest]


def _calmest(cluster: Cluster) -> Delay | None:
    return min(cluster.hours, key=lambda hour: hour.notifications).delay


def _day(run: Run) -> Iterator[str]:
    middle = run.clusters[len(run.clusters) // 2]
    yield f"{_amount(middle)} accounts, {middle.nodes} nodes, engines: {middle.shards}."
    yield ""
    yield from _table(
        ("hour", "with an address", "mails", "logins", "commands", "calls", "delay p50, p99",
         "node used", "engine used"),
        (
            (f"{hour.hour}", *_hour(hour), _percent(hour.node), _percent(hour.engine))
            for hour in middle.hours
        ),
    )  # fmt: skip


# --- events -------------------------------------------------------------------------------------


def _events(run: Run) -> Iterator[str]:
    yield from _table(
        ("accounts", "event", "asked for at the top", "with an address", "other mail before",
         "during", "mailed", "last call after", "no room", "nodes, engines for 90 %"),
        (
            (_amount(each), event.name, _top(event.uses), _percent(event.fresh),
             _pair(event.before), _pair(event.during), _pair(event.mailed),
             _time(event.over) if event.mailed else "",
             _percent(event.expired) if event.expired else "none",
             f"{event.nodes:,}, {event.shards:,}")
            for each, event in _each_event(run)
        ),
        left={0, 1},
    )  # fmt: skip
    yield ""
    yield "What waits at most, of one node; and memory of one engine:"
    yield ""
    yield from _table(
        ("accounts", "event", "in the companion", "in the inbox", "for a call", "inboxes",
         "address book"),
        (
            (_amount(each), event.name, f"{event.requests:,}", f"{event.inbox:,}",
             f"{event.calls:,.0f}", _mib(event.inbox_mib), _mib(event.book_mib))
            for each, event in _each_event(run)
        ),
        left={0, 1},
    )  # fmt: skip


def _each_event(run: Run) -> Iterator[tuple[Cluster, Event]]:
    for each in run.clusters:
        for event in each.events:
            yield each, event


def _top(uses: Mapping[str, float]) -> str:
    name = max(uses, key=lambda name: uses[name])
    return f"{name} {_percent(uses[name])}"


def _sweeps(run: Run) -> Iterator[str]:
    yield from _table(
        ("accounts", "accounts to ring", "by one node", "decided by", "by all nodes", "decided by",
         "targets that move"),
        (
            (_amount(each), _about(each.sweep.accounts), *_longest(each.sweep),
             _percent(1 / each.nodes))
            for each in run.clusters
        ),
    )  # fmt: skip


def _longest(sweep: Sweep) -> Iterator[str]:
    for times in (sweep.by_one, sweep.by_all):
        name = max(times, key=lambda name: times[name])
        yield _time(times[name])
        yield name


def _breaks(run: Run) -> Iterator[str]:
    yield "As often as this the accounts fit, while nodes and engines stay as they are:"
    yield ""
    names = list(run.clusters[0].growth)
    yield from _table(
        ("accounts", *names),
        ((_amount(each), *(_times(each.growth[name]) for name in names)) for each in run.clusters),
    )
    yield ""
    for each in run.clusters:
        hard = {name: times for name, times in each.growth.items() if name != STATES}
        first = min(hard, key=lambda name: hard[name])
        yield (
            f"- {_amount(each)} accounts: {first} is used up first, with {_times(hard[first])} the"
            f" accounts. Then: {_REMEDIES[first]}."
        )
    yield ""
    yield from _table(("used up", "what to do"), _REMEDIES.items(), left={0, 1})


def _times(times: float) -> str:
    return f"{number(times)} times"


def _idle(run: Run) -> Iterator[str]:
    yield from _table(
        ("accounts", "way", "connections", "memory", "messages a second", "cores", "network"),
        (row for each in run.clusters for row in _ways(run, each)),
        left={0, 1},
    )


def _ways(run: Run, cluster: Cluster) -> Iterator[tuple[str, ...]]:
    hour = _busiest(run, cluster)
    yield (
        _amount(cluster), "mailbell", "0", _mib(cluster.mib),
        f"{_about(hour.calls)} calls, {_about(hour.commands)} commands", number(cluster.cores), "",
    )  # fmt: skip
    for each in cluster.idle:
        yield (_amount(cluster), *_way(each))


def _way(idle: Idle) -> tuple[str, ...]:
    return (
        idle.name, _about(idle.connections), _mib(idle.mib), f"{_about(idle.signs)} signs of life",
        number(idle.cores), f"{number(idle.bits / 1e6)} Mbit/s",
    )  # fmt: skip


# --- words ----------------------------------------------------------------------------------------


def _table(
    heading: Sequence[str], rows: Iterable[Sequence[str]], left: set[int] | None = None
) -> Iterator[str]:
    sides = ("---" if place in (left or {0}) else "---:" for place in range(len(heading)))
    yield f"| {' | '.join(heading)} |"
    yield f"| {' | '.join(sides)} |"
    for row in rows:
        yield f"| {' | '.join(row)} |"


def _alt(run: Run) -> str:
    last = _amount(run.clusters[-1])
    return (
        f"Memory and messages a second of mailbell and of IMAP IDLE, for up to {last} accounts,"
        " and delays on Monday morning and while everybody gets a mail"
    )


def _amount(cluster: Cluster) -> str:
    return f"{cluster.accounts:,}"


def _about(value: float) -> str:
    """Return a number with three digits that count."""
    if value < 100:
        return number(value)
    digits = len(f"{value:.0f}") - 3
    return f"{round(value, -digits):,.0f}"


def _percent(share: float) -> str:
    share = round(100 * share, 6)
    return f"{number(share) if share < 10 else round(share)} %"


def _mib(amount: float) -> str:
    return f"{amount / 1024:,.1f} GiB" if amount >= 1024 else f"{number(amount)} MiB"


def _pair(delay: Delay | None) -> str:
    return f"{_time(delay.p50)}, {_time(delay.p99)}" if delay else ""


def _time(seconds: float) -> str:
    if seconds < 1:
        return f"{number(1000 * seconds)} ms"
    if seconds < 600:
        return f"{number(seconds)} s"
    return f"{number(seconds / 60)} min" if seconds < 7200 else f"{number(seconds / 3600)} h"
