"""CPU time of a message for each of its outcomes, beside that of a good one.

A fault, a flood or a limit may not cost more than a good notification does: otherwise an attacker
would choose it. So each outcome of mailbelld and of the sender's sockets is caused again and again,
in the same run and in turn with a good message that comes in the same way:

- over TCP with the whole line, which is one of many that become one wake-up: the cheapest good one;
- over TCP in two pieces, for what waits for more than its first packet: that takes a place, a task
  and a second read, for a good one too;
- over UDP, on the socket of the hooks, and on the local socket of mailbelld by its method Notify.

The bound of each ratio is 1 and what the good message itself varies by from round to round.

A wrong line over TCP costs more: it is judged, logged and made to pay, while a good one is merged
into a wake-up that waits. It pays five tokens instead of one, so a source that sends nothing else
is read a fifth as often (`mailbell.limits.gate`). What is refused unread costs less than a line.
"""

import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from itertools import count
from pathlib import Path
from typing import Final, NamedTuple

from bench.ends import LINE, Ends
from bench.flood import Flood
from bench.kernel import Cpu
from bench.processes import Daemon, Failed, build, configuration, cores, started
from bench.ringers import Ringer, mailbell_sender, sink
from bench.section import Plan, Row, Section, Spread, Target
from bench.speakers import Speaker
from mailbell.client import Client

__all__ = ["measure"]

_HOST: Final = "127.0.0.1"
_COUNT: Final = 10_000
_LOCAL: Final = 300  # less than one user may say at once
_GOOD, _PIECES = "accepted", "accepted in two pieces"
_SOURCES: Final = 200  # of Ends and Flood
_PACE: Final = 20_000  # datagrams a second, so that none is lost
# The first of sources that are denied (127.129.0.0/16), and of those that ring no account.
_DENIED: Final = 128 * 256
_UNKNOWN: Final = 130 * 256
_ACCOUNT: Final = '[[account]]\nname = "work"\nsources = ["127.0.0.0/9"]\n'
_QUICK_DEADLINE: Final = '[protocol]\ndeadline = "250ms"\n'
_PLACES: Final = 64
_BARE: Final = ("setpriv", "--bounding-set=-net_admin")
# Numbers that no user has here. Each round has another one, who has said nothing yet.
_USERS: Final = 30_000
_CALL: Final = b'{"method":"org.mailbell.Listener.%s}\0'
_NOTIFY: Final = _CALL % b'Notify","parameters":{"account":"work"}'

Counts = Mapping[str, int]


class _Kind(NamedTuple):
    """One outcome, and what causes it.

    Attributes:
        name: its name in the table.
        outcome: its name in the daemon's counters; empty: it reaches no counter.
        pid: the daemon.
        send: sends a round; returns how many messages that was.
        counted: returns the daemon's counters.
        least: the share of the messages that must have this outcome. Where a limit decides, a few
            have another one.
        exhaust: uses up what a limit permits, which is not measured; None: nothing need be.
    """

    name: str
    outcome: str
    pid: int
    send: Callable[[], int]
    counted: Callable[[], Counts]
    least: float = 1.0
    exhaust: Callable[[], object] | None = None

    def cost(self) -> float:
        """Send a round; return the CPU time of a message in us.

        Raises:
            Failed: another outcome was counted.
        """
        if self.exhaust is not None:
            self.exhaust()
            Cpu.settled(self.pid)  # all of it was counted
        before, used = self.counted(), Cpu.settled(self.pid)
        sent = self.send()
        used = Cpu.settled(self.pid) - used
        after = self.counted()
        found = {name: n - before.get(name, 0) for name, n in after.items()}
        found = {name: n for name, n in found.items() if n}
        total = sum(found.values()) if self.outcome else sent
        if self.outcome and found.get(self.outcome, 0) < max(1, self.least * total):
            raise Failed(f"{self.name}: {sent} sent, counted {found}")
        return used.total / total / 1000


_Group = list[_Kind]
"""Outcomes of messages that come in the same way. The first one is the good one."""


def measure(plan: Plan) -> Section:
    """Measure each outcome.

    Args:
        plan: how much.

    Raises:
        Failed: a message had another outcome than it should have.
    """
    build()
    with ExitStack() as stack:
        groups = list(_groups(plan, stack))
        costs: dict[str, list[float]] = {kind.name: [] for group in groups for kind in group}
        for number in range(plan.rounds):
            for group in groups:
                for kind in group[:: 1 if number % 2 else -1]:
                    costs[kind.name].append(kind.cost())
    found = [(group[0].name, kind.name) for group in groups for kind in group]
    whole, pieces = (Spread.of(costs[f"TCP: {name}"]).median for name in (_GOOD, _PIECES))
    notes = [
        f"a good line in two pieces / a whole one: {pieces / whole:.2f}",
        f"{plan.of(_COUNT, 400)} connections over TCP in each of {plan.rounds} rounds",
    ]
    if os.geteuid() != 0:
        notes.append("no other users and no daemon without privileges: that needs root")
    return Section(
        name="outcomes",
        title="CPU time of a message by its outcome",
        unit="us",
        against="the good one above",
        rows=tuple(_row(good, name, costs) for good, name in found),
        targets=tuple(_target(good, name, costs) for good, name in found if good != name),
        notes=tuple(notes),
    )


def _row(good: str, name: str, costs: dict[str, list[float]]) -> Row:
    ratio = None if name == good else _ratio(costs[name], costs[good])
    return Row(name, Spread.of(costs[name]), ratio)


def _target(good: str, name: str, costs: dict[str, list[float]]) -> Target:
    own = Spread.of(costs[good])
    return Target(
        f"{name} / {good}", _ratio(costs[name], costs[good]).median, own.most / own.median
    )


def _ratio(values: Sequence[float], base: Sequence[float]) -> Spread:
    return Spread.of(value / good for value, good in zip(values, base, strict=True))


def _groups(plan: Plan, stack: ExitStack) -> Iterator[_Group]:
    accepting = stack.enter_context(_daemon())
    spent = stack.enter_context(_daemon(rate="1/h", limits="burst = 1"))
    total = stack.enter_context(_daemon(limits="burst = 1", total="1/h"))
    for daemon in (spent, total):  # no token comes back before the end
        Ends(2 * _SOURCES).run(_HOST, daemon.port("tcp", _HOST))
        Flood("udp", "line", 2 * _SOURCES, per_second=_PACE).run(_HOST, daemon.port("udp", _HOST))
    waiting = stack.enter_context(
        _daemon(limits=f"burst = 1000000\nconnections = {_PLACES}", more=_QUICK_DEADLINE)
    )
    amount = plan.of(_COUNT, 400)
    yield [
        *_whole(accepting, amount),
        _tcp(spent, "over its limit", "rate_limited", Ends(amount)),
        _tcp(total, "over the total", "rate_limited", Ends(amount)),
        *_without_filter(amount, stack),
    ]
    yield _in_pieces(waiting, amount)
    yield _datagrams(accepting, spent, total, amount)
    yield from _hook(amount, stack)
    if os.geteuid() == 0:
        # What a flood has begun there ends later, beside what is measured next.
        yield _local(accepting, stack.enter_context(_daemon()), plan)


# Over TCP


def _tcp(daemon: Daemon, name: str, outcome: str, ends: Ends, *, least: float = 1.0) -> _Kind:
    port = daemon.port("tcp", _HOST)

    def send() -> int:
        ends.run(_HOST, port, cores()[1])
        return ends.count

    return _Kind(f"TCP: {name}", outcome, daemon.pid, send, daemon.outcomes, least)


def _whole(daemon: Daemon, amount: int) -> _Group:
    """Everything that the daemon decides at once, from what has come."""
    said = {
        "mismatch": b"NM_NOTIFYUSER\r\n",
        "bad_terminator": b"nm_notifyuser\n\n",
        "trailing_data": LINE + b"x",
        "finger_query": b"root\r\n",
        "empty": b"",
    }
    return [
        _tcp(daemon, _GOOD, "accepted", Ends(amount)),
        *(_tcp(daemon, name, name, Ends(amount, text)) for name, text in said.items()),
        _tcp(daemon, "denied_source", "denied_source", Ends(amount, first=_DENIED)),
        _tcp(daemon, "unknown_account", "unknown_account", Ends(amount, first=_UNKNOWN)),
    ]


def _in_pieces(daemon: Daemon, amount: int) -> _Group:
    """Everything that waits for more than has come."""
    few = _PLACES * 3 // 4
    start = LINE[:9]

    def kind(name: str, ends: Ends, outcome: str = "") -> _Kind:
        # On a busy machine a few reach the deadline first, and a few places are free for others.
        return _tcp(daemon, name, outcome or name, ends, least=0.7)

    return [
        kind(_PIECES, Ends(amount, start, "late", few), "accepted"),
        kind("truncated", Ends(amount, start, "fin", few)),
        kind("reset", Ends(amount, start, "reset", few)),
        kind("deadline", Ends(amount // 20, start, "wait", few)),
        kind("too_many_connections", Ends(amount, start, "wait", 8 * _PLACES)),
        kind("too_many_from_source", Ends(amount, start, "wait", sources=1)),
    ]


def _without_filter(amount: int, stack: ExitStack) -> Iterator[_Kind]:
    """A source that is not listed, where the kernel does not refuse it first."""
    if os.geteuid() != 0:
        return
    daemon = stack.enter_context(_daemon(allow=["127.1.0.0/16"], through=_BARE))
    if daemon.status().unfiltered is not None:  # an older kernel needs no privilege to filter
        yield _tcp(daemon, "unlisted_source", "unlisted_source", Ends(amount, first=_UNKNOWN))


# Over UDP


def _datagrams(accepting: Daemon, spent: Daemon, total: Daemon, amount: int) -> _Group:
    def kind(
        daemon: Daemon, name: str, outcome: str, first: int = 0, *, least: float = 1.0
    ) -> _Kind:
        flood = Flood("udp", "line", amount, first, per_second=_PACE)
        return _udp(daemon, name, outcome, flood, least)

    garbage = Flood("udp", "garbage", amount, per_second=_PACE)
    return [
        kind(accepting, "accepted", "accepted"),
        kind(accepting, "denied_source", "denied_source", _DENIED),
        kind(accepting, "unknown_account", "unknown_account", _UNKNOWN),
        kind(spent, "over its limit", "rate_limited", least=0.3),
        kind(total, "over the total", "rate_limited", least=0.3),
        _udp(accepting, "garbage, which the kernel's filter drops", "", garbage, 1.0),
    ]


def _udp(daemon: Daemon, name: str, outcome: str, flood: Flood, least: float) -> _Kind:
    port = daemon.port("udp", _HOST)

    def send() -> int:
        return flood.run(_HOST, port, cores()[1]).sent

    return _Kind(
        f"UDP: {name}", outcome, daemon.pid, send, lambda: daemon.status().outcomes.udp, least
    )


# On local sockets


def _hook(amount: int, stack: ExitStack) -> Iterator[_Group]:
    directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mailbell-")))
    directory.chmod(0o755)
    hosts = stack.enter_context(sink(cores()[1]))
    accounts = "".join(
        f'[[account]]\nname = "{name}"\ntargets = ["127.1.0.1:{hosts.port}"]\n{more}'
        for name, more in (("a", ""), ("daemon", ""), ("off", "enabled = false\n"))
    )
    sender = stack.enter_context(mailbell_sender(directory, accounts, cores()[0]))
    said = {
        "accepted": b"new a\n",
        "unknown_account": b"new nobody\n",
        "disabled": b"new off\n",
        "quiet_folder": b"new a Junk\n",
        "malformed": b"hello\n",
        "too_long": b"x" * 2000,
    }
    user = os.geteuid()
    group = [
        _spoken(sender, name, name, Speaker(amount, says, user)) for name, says in said.items()
    ]
    if user == 0:
        stranger = Speaker(amount // 10, b"new a\n", _USERS)
        group.append(_spoken(sender, "not_permitted", "not_permitted", stranger))
        # The user "daemon" (1) may ring its own account, 1000 times at once and then more rarely.
        own = Speaker(max(500, amount // 10), b"new daemon\n", 1)
        kind = _spoken(sender, "rate_limited", "rate_limited", own, least=0.5)
        before = Speaker(1200, b"new daemon\n", 1)
        group.append(kind._replace(exhaust=lambda: before.run(str(sender.path))))
    yield group
    good, bad = (
        Speaker(amount, b"seen a %s\n" % host, user) for host in (b"192.0.2.1", b"127.0.0.1")
    )
    yield [
        _spoken(sender, "a login, accepted", "accepted", good),
        _spoken(sender, "a login, refused_address", "refused_address", bad),
    ]


def _spoken(
    sender: Ringer, name: str, outcome: str, speaker: Speaker, *, least: float = 1.0
) -> _Kind:
    def send() -> int:
        speaker.run(str(sender.path), cores()[1])
        return speaker.count

    def counted() -> Counts:
        return sender.status().inputs

    return _Kind(f"hook: {name}", outcome, sender.pid, send, counted, least)


def _local(daemon: Daemon, flooded: Daemon, plan: Plan) -> _Group:
    users = count(_USERS)
    amount = plan.of(_LOCAL, 50)

    def kind(name: str, outcome: str, says: bytes) -> _Kind:
        def send() -> int:
            Speaker(amount, says, next(users), held=0).run(daemon.path, cores()[1])
            return amount

        # The connection that asked for the counters ends too.
        return _Kind(f"local: {name}", outcome, daemon.pid, send, lambda: _ends(daemon), 0.95)

    flooding = next(users)

    def flood(times: int) -> int:
        Speaker(times, _NOTIFY, flooding, held=32).run(flooded.path, cores()[1])
        return times

    return [
        kind("a call of Notify", "disconnected", _NOTIFY),
        kind("garbage", "garbage", b"hello\0"),
        kind("too_long", "too_long", b"x" * 5000),
        kind("bad_call", "bad_call", _CALL % b'Notify","parameters":{"account":1}'),
        _Kind(
            "local: refused_user",
            "refused_user",
            flooded.pid,
            lambda: flood(20 * amount),
            lambda: _ends(flooded),
            least=0.5,
            exhaust=lambda: flood(1000),
        ),
    ]


def _ends(daemon: Daemon) -> Counts:
    """Return how connections to the local socket ended."""
    found = dict(daemon.status().local)
    del found["connected"]
    return found


@contextmanager
def _daemon(
    *,
    rate: str = "100000/s",
    limits: str = "burst = 1000000",
    total: str = "1000000/s",
    allow: Sequence[str] = (),
    more: str = "",
    through: Sequence[str] = (),
) -> Iterator[Daemon]:
    with tempfile.TemporaryDirectory(prefix="mailbell-") as name:
        directory = Path(name)
        directory.chmod(0o755)  # the daemon drops to a user who must reach its socket
        endpoint = [f"{_HOST}:0"]
        toml = configuration(
            directory, tcp=endpoint, udp=endpoint, allow=allow, deny=["127.129.0.0/16"],
            rate=rate, limits=limits, accounts=more + _ACCOUNT,
        ).replace('total_rate = "1000000/s"', f'total_rate = "{total}"')  # fmt: skip
        with (
            started(directory, toml, cores()[0], through=through) as daemon,
            Client(daemon.path) as client,
            client.subscribe(),
        ):
            yield daemon
