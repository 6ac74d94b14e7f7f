"""Many users who wait for mail: what they cost the server, and how soon they know of a mail.

Each way has a Dovecot of its own that begins anew. Its memory is taken when nobody waits, and when
all wait. Then mails are delivered by LMTP, and each client says when it knew, and when it had it.
"""

import random
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median, median_high
from typing import Final

from harness.netns import Namespace, Pair

from bench.processes import Failed
from bench.push.client import Order
from bench.push.cost import Cost, cost, descendants
from bench.push.laptops import laptops, sender
from bench.push.mailbox import Place
from bench.push.record import Latency, Plan, Way
from bench.push.server import Dovecot, dovecot
from bench.push.settings import SERVER, Ports, Setup
from bench.push.waiting import Clients, Mail, clients, deliver, spread

__all__ = ["Bench", "idle", "memory_with_tls", "polled", "rung"]

NAMES: Final = {"bookworm": "2.3", "trixie": "2.4"}
_HIBERNATION: Final = 120.0  # seconds at most, beyond the time that is set
_MOST: Final = 90.0  # seconds for a mail to be noticed, and beyond this it counts as lost


@dataclass(frozen=True)
class Bench:
    """Where it is measured.

    Attributes:
        plan: how much.
        pair: the server and the clients, with a cable between them.
        keys: the folder of the server's certificate.
        addresses: of the clients' end; the first one is that of all who are no laptop.
    """

    plan: Plan
    pair: Pair
    keys: Path
    addresses: Sequence[str]

    @property
    def host(self) -> Namespace:
        """The server's network."""
        return self.pair.server


@contextmanager
def _server(bench: Bench, setup: Setup, hook: Path | None = None) -> Iterator[tuple[Dovecot, Cost]]:
    """Run a Dovecot with one more user, who has looked and got a mail; yield what it takes idle."""
    setup = replace(setup, users=bench.plan.users + 1)
    with ExitStack() as stack:
        folder = hook or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mailbell-")))
        found = stack.enter_context(dovecot(setup, bench.host, folder, bench.keys))
        last = (bench.plan.users,)
        order = Order("imap", _place(bench, setup.ports.imap), last, interval=_MOST)
        with clients(order, bench.pair.client) as warm:
            warm.until(lambda: warm.count("looked") == 1, "the first login", _MOST)
        deliver(bench.host, setup.ports.lmtp, last[0])
        yield found, _settled(bench, found)
        if complaints := found.complaints():
            raise Failed(f"Dovecot complains {len(complaints)} times, first: {complaints[0]}")


def _settled(bench: Bench, found: Dovecot) -> Cost:
    time.sleep(bench.plan.settle)  # Dovecot does not say when it has come to rest
    return _cost(bench, found)


def _cost(bench: Bench, found: Dovecot, alone: Sequence[int] = ()) -> Cost:
    ports = found.setup.ports
    clients_of = (ports.imap, ports.imaps, ports.pop3, ports.pop3s)
    return cost(found.pids(), bench.host, clients_of, alone)


def _place(bench: Bench, port: int, *, tls: bool = False) -> Place:
    return Place(SERVER, port, bench.addresses[0], tls)


def _sample(bench: Bench, count: int) -> list[int]:
    """Choose users who get a mail, each time the same ones: all of them before one again."""
    users = list(range(bench.plan.users))
    random.Random(4146).shuffle(users)  # noqa: S311  nothing secret
    return [users[n % len(users)] for n in range(count)]


def _latencies(found: Clients, mails: Sequence[Mail], *names: str) -> list[Latency]:
    """Wait until all mails are noticed; return the times of each event."""
    results = []
    for name in names:
        found.until(
            lambda name=name: found.count(name) >= len(mails),  # type: ignore[misc]  # a default has no type
            f"{len(mails)} mails were to be {name}",
            _MOST,
        )
        seconds = []
        numbers: dict[int, int] = {}
        for mail in mails:
            numbers[mail.user] = number = numbers.get(mail.user, -1) + 1
            when = found.times(name, mail.user)[number]
            if when < mail.handed:
                raise Failed(f"u{mail.user} knew of a mail before it was sent")
            seconds.append(when - mail.handed)
        results.append(Latency.of(seconds))
    return results


def _delivery(mails: Sequence[Mail]) -> Latency:
    return Latency.of(mail.taken - mail.handed for mail in mails)


# --- IDLE ------------------------------------------------------------------------------------


def idle(bench: Bench, suite: str, *, hibernates: bool = False) -> Way:
    """Measure those who wait with IDLE.

    Args:
        bench: where.
        suite: whose Dovecot.
        hibernates: whether connections are handed to imap-hibernate.
    """
    plan = bench.plan
    setup = Setup(suite, Ports(1143), plan.users, plan.hibernate if hibernates else 0)
    version = NAMES[suite]
    with _server(bench, setup) as (found, empty):
        order = Order("idle", _place(bench, setup.ports.imap), tuple(range(plan.users)))
        with clients(order, bench.pair.client) as crowd:
            crowd.until_ready(plan.users)
            if hibernates:
                _until_hibernated(bench, found, empty)
            waiting = _settled(bench, found)
            _all_connected(waiting, plan.users)
            users = _sample(bench, plan.mails)
            mails = spread(bench.host, setup.ports.lmtp, users, plan.mails * plan.pause)
            told, has = _latencies(crowd, mails, "told", "has")
    name = f"IDLE, Dovecot {version}{', hibernation' if hibernates else ''}"
    return Way(
        name, found.version, plan.users, empty, waiting, waiting, told, has, _delivery(mails)
    )


def _until_hibernated(bench: Bench, found: Dovecot, empty: Cost) -> None:
    last = time.monotonic() + bench.plan.hibernate + _HIBERNATION
    while (left := _cost(bench, found).processes - empty.processes) > 2:
        if time.monotonic() > last:
            raise Failed(f"{left} processes are not hibernated: {found.complaints()[:1]}")
        time.sleep(1)  # between two counts


def _all_connected(waiting: Cost, users: int) -> None:
    if waiting.connections != users:
        raise Failed(f"{waiting.connections} connections for {users} users")


def memory_with_tls(bench: Bench, suite: str) -> Way:
    """Measure the server's memory with IDLE over TLS: a process for TLS stays with each user."""
    plan = bench.plan
    setup = Setup(suite, Ports(1143), plan.users, many_tls=True)
    version = NAMES[suite]
    with _server(bench, setup) as (found, empty):
        place = _place(bench, setup.ports.imaps, tls=True)
        with clients(Order("idle", place, tuple(range(plan.users))), bench.pair.client) as crowd:
            crowd.until_ready(plan.users)
            waiting = _settled(bench, found)
            _all_connected(waiting, plan.users)
    name = f"IDLE, Dovecot {version}, TLS"
    return Way(name, found.version, plan.users, empty, waiting, waiting)


# --- mailbell ----------------------------------------------------------------------------------


def rung(bench: Bench, suite: str) -> Way:
    """Measure those who are rung: the sender knows all users, and some of them have a laptop here.

    Args:
        bench: where.
        suite: whose Dovecot calls the sender, by Lua in LMTP.
    """
    plan = bench.plan
    setup = Setup(suite, Ports(1143), plan.users, rings=True)
    version = NAMES[suite]
    own = bench.addresses[1 : plan.laptops + 1]
    logins = [(f"u{n}", own[n] if n < len(own) else _elsewhere(n)) for n in range(plan.users)]
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mailbell-")))
        hook = folder / "sender"
        for place in (folder, hook):
            place.mkdir(exist_ok=True)
            place.chmod(0o755)
        ringer = stack.enter_context(sender(hook, logins, bench.pair))
        found, empty = stack.enter_context(_server(bench, setup, hook))
        daemons = stack.enter_context(laptops(folder, own, bench.pair))
        waiting = _settled_with(bench, found, ringer.pid)
        order = Order(
            "mailbell", _place(bench, setup.ports.imap), tuple(range(len(own))),
            sockets=tuple(daemon.path for daemon in daemons),
        )  # fmt: skip
        crowd = stack.enter_context(clients(order, bench.pair.client))
        crowd.until_ready(len(own))
        users = [n % len(own) for n in range(plan.mails)]
        # A sender rings a target at most once in 2 s (send.interval). So between two mails of a
        # laptop are 2.4 s, even if the first one comes at the end of its share of the time.
        mails = spread(bench.host, setup.ports.lmtp, users, plan.mails * 2.4 / (len(own) - 1))
        told, has = _latencies(crowd, mails, "told", "has")
        rings = ringer.status().rings
    if rings["sent"] != plan.mails:
        raise Failed(f"the sender counted {rings} of {plan.mails} mails")
    held = rings.get("coalesced", 0)
    notes = (f"{held} rings waited until send.interval was over",) if held else ()
    name = f"mailbell, Dovecot {version}"
    return Way(
        name, found.version, plan.users, empty, waiting, waiting, told, has, _delivery(mails), notes
    )  # fmt: skip


def _elsewhere(number: int) -> str:
    """Return an address that nobody has here, and that is never rung."""
    return f"10.79.{number >> 8}.{number & 255}"


def _settled_with(bench: Bench, found: Dovecot, pid: int) -> Cost:
    time.sleep(bench.plan.settle)  # as for the idle server
    return _cost(bench, found, descendants(pid))


# --- polling -----------------------------------------------------------------------------------


def polled(bench: Bench, way: str, first_port: int) -> Way:
    """Measure those who look each interval; their looks are spread over it.

    Args:
        bench: where.
        way: imap or pop3.
        first_port: of a Dovecot 2.4.
    """
    plan = bench.plan
    setup = Setup("trixie", Ports(first_port), plan.users)
    port = setup.ports.imap if way == "imap" else setup.ports.pop3
    users = tuple(range(plan.users))
    with _server(bench, setup) as (found, empty):
        order = Order(way, _place(bench, port), users, interval=plan.interval)
        with clients(order, bench.pair.client) as crowd:
            crowd.until(lambda: crowd.count("looked") > 0, "the first look", _MOST)
            begun = time.monotonic()
            with _samples(lambda: _cost(bench, found)) as samples:
                chosen = _sample(bench, plan.polled)
                mails = spread(bench.host, setup.ports.lmtp, chosen, plan.interval)
                (told,) = _latencies(crowd, mails, "told")
            looks, seconds = crowd.count("looked"), time.monotonic() - begun
    expected = plan.users * seconds / plan.interval
    if looks < expected / 2:
        raise Failed(f"{looks} looks in {seconds:.0f} s; {expected:.0f} were to be")
    waiting, peak = _median(samples), max(samples, key=lambda each: each.mib)
    name = f"{way.upper()}, a poll each {plan.interval:.0f} s"
    notes = (f"{looks} looks in {seconds:.0f} s, and {expected:.0f} were to be",)
    return Way(
        name, found.version, plan.users, empty, waiting, peak, told, None, _delivery(mails), notes
    )


@contextmanager
def _samples(take: Callable[[], Cost]) -> Iterator[list[Cost]]:
    """Take a sample each half second until the end of the block."""
    found: list[Cost] = [take()]
    ending = threading.Event()

    def run() -> None:
        while not ending.wait(0.5):
            found.append(take())

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield found
    finally:
        ending.set()
        thread.join()


def _median(samples: Sequence[Cost]) -> Cost:
    return Cost(
        median(each.mib for each in samples),
        median_high(each.processes for each in samples),
        median_high(each.connections for each in samples),
    )
