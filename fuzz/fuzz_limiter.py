"""While no table is full, the limiter decides exactly as an unbounded table of exact buckets does.

The first bytes of an input choose rate, burst and total. After them, three bytes make one
step: what to do, for which of eight sources, and how much time passes before it. All times
and rates are sums of powers of two, which floats hold exactly. So the model is exact, and any
difference is a fault. A second limiter gets the same steps with thousands of sources in
tables of eight entries, and must keep its bounds.
"""

from collections.abc import Iterator
from fractions import Fraction

from mailbell.core.networks import Family
from mailbell.core.notification import Transport
from mailbell.core.outcome import Outcome
from mailbell.limits.limiter import LEAKED_SHARE, PENALTY, WIDE_FACTOR, Gate, Limiter

# Two hosts of one /24, or two /64 of one /48, follow each other: they share the wide prefix.
SOURCES = {
    Family.IPV4: [0xC0000200 + offset for offset in (0, 1, 2, 255, 256, 257, 65536, 1 << 31)],
    Family.IPV6: [
        (0x20010DB8_00000000 + offset << 64) + host
        for host, offset in enumerate((0, 0, 1, 2, 65535, 65536, 65537, 1 << 40))
    ],
}
PREFIXES = {Family.IPV4: (32, 24), Family.IPV6: (64, 48)}
KINDS = [(transport, family) for transport in Transport for family in Family]


class ExactBucket:
    """A token bucket as in a textbook: tokens are taken, and some come back each second."""

    def __init__(self, rate: Fraction, burst: int) -> None:
        self.rate = rate
        self.burst = burst
        self.tokens = Fraction(burst)
        self.time = Fraction(0)

    def at(self, now: Fraction) -> Fraction:
        """Returns the tokens that are left."""
        self.tokens = min(self.tokens + (now - self.time) * self.rate, Fraction(self.burst))
        self.time = now
        return self.tokens

    def take(self, cost: Fraction) -> None:
        """Takes tokens. The debt is at most one burst."""
        self.tokens = max(self.tokens - cost, -Fraction(self.burst))


class Model:
    """What `Limiter` promises, with unbounded memory."""

    def __init__(self, rate: Fraction, burst: int, total_rate: Fraction) -> None:
        self.rate = rate
        self.burst = burst
        self.totals = {
            transport: ExactBucket(total_rate, max(burst, -int(-total_rate // 1)))
            for transport in Transport
        }
        self.buckets: dict[tuple[Transport, Family, int, int], ExactBucket] = {}

    def of_source(self, transport: Transport, family: Family, source: int) -> list[ExactBucket]:
        """Returns the buckets of the narrow and the wide prefix."""
        found = []
        for length, factor in zip(PREFIXES[family], (1, WIDE_FACTOR), strict=True):
            key = transport, family, length, source >> family.bits - length
            bucket = ExactBucket(self.rate * factor, self.burst * factor)
            found.append(self.buckets.setdefault(key, bucket))
        return found

    def admit(
        self, transport: Transport, family: Family, source: int, now: Fraction, chance: float
    ) -> bool:
        """Takes a token from each bucket if all of them have one."""
        total = self.totals[transport]
        paying = self.of_source(transport, family, source)
        if any(bucket.at(now) < 1 for bucket in paying):
            if transport is Transport.TCP or chance >= LEAKED_SHARE:
                return False
            paying = []
        if total.at(now) < 1:
            return False
        for bucket in [*paying, total]:
            bucket.take(Fraction(1))
        return True

    def penalize(self, transport: Transport, family: Family, source: int, now: Fraction) -> None:
        """Takes the penalty from both prefixes."""
        for bucket in self.of_source(transport, family, source):
            bucket.at(now)
            bucket.take(Fraction(PENALTY))


def steps(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Splits an input into whole steps of three bytes."""
    whole = len(data) - len(data) % 3
    return zip(data[0:whole:3], data[1:whole:3], data[2:whole:3], strict=True)


def check_bounds(limiter: Limiter, gates: list[Gate]) -> None:
    """Checks what must be true of any limiter at any time."""
    statistics = limiter.statistics()
    assert all(table.entries <= table.capacity == 8 for table in statistics.tables)
    held = [slots for gate in gates for slots in gate._per_source.values()]  # noqa: SLF001 - the bound
    assert sum(held) == statistics.connections <= statistics.connections_limit
    assert all(1 <= slots <= limiter.connections_per_source for slots in held)


def make(rate: Fraction, burst: int, total_rate: Fraction, chances: list[float]) -> Limiter:
    """Makes the limiter under test, with eight entries a table and `chances[-1]` as chance."""
    return Limiter(
        rate=float(rate),
        burst=burst,
        total_rate=float(total_rate),
        connections=6,
        connections_per_source=2,
        sources=8,
        udp=True,
        seed=burst,
        random=lambda: chances[-1],
    )


def check_model(data: bytes, rate: Fraction, burst: int, total_rate: Fraction) -> None:
    """Eight sources in tables of eight entries: every decision equals the model's."""
    chances = [0.0]
    limiter, model = make(rate, burst, total_rate, chances), Model(rate, burst, total_rate)
    now = Fraction(1 << 20)
    for action, which, wait in steps(data):
        now += Fraction(wait * wait, 16)
        chances.append((action >> 5) / 8)
        transport, family = KINDS[action >> 1 & 3]
        source = SOURCES[family][which % 8]
        gate = limiter.gate(transport, family)
        if action & 1 and which >= 128:
            gate.penalize(source, float(now))
            model.penalize(transport, family, source, now)
        else:
            admitted = gate.admit(source, float(now))
            assert admitted == model.admit(transport, family, source, now, chances[-1])
    assert not any(table.evicted for table in limiter.statistics().tables)


def check_crowd(data: bytes, rate: Fraction, burst: int, total_rate: Fraction) -> None:
    """Any number of sources, and time that goes back and forth: bounds hold, places balance."""
    limiter = make(rate, burst, total_rate, [0.5])
    gates = [limiter.gate(*kind) for kind in KINDS]
    held: list[tuple[Gate, int]] = []
    now = 0.0
    for action, which, wait in steps(data):
        now += wait - 100
        gate = gates[action >> 1 & 3]
        source = which << (action >> 3)
        gate.admit(source, now)
        if action & 1:
            gate.penalize(source, now)
        if which & 1 and gate.connect(source) is None:
            held.append((gate, source))
        elif held and not which & 1:
            back, whose = held.pop(wait % len(held))
            back.disconnect(whose)
        check_bounds(limiter, gates)
    while held:
        back, whose = held.pop()
        back.disconnect(whose)
    assert limiter.statistics().connections == 0
    assert gates[0].connect(1) is None
    assert gates[0].connect(1) is None
    assert gates[0].connect(1) is Outcome.TOO_MANY_FROM_SOURCE


def check(data: bytes) -> None:
    """Raises AssertionError when an input breaks the invariant."""
    if len(data) < 3:
        return
    rate = Fraction(1 << data[0] % 5, 4)
    burst = 1 + data[1] % 12
    total_rate = Fraction(1 << data[2] % 8)
    check_model(data[3:], rate, burst, total_rate)
    check_crowd(data[3:], rate, burst, total_rate)
