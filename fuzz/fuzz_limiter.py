"""While no table is full, the limiter decides exactly as an unbounded table of exact buckets does.

The first bytes of an input choose rate, burst and total. After them, three bytes make one
step: what to do, for which source, and how much time passes before it. Some of the sources are
listed, some come through a translator, and some belong to this machine. All times
and rates are sums of powers of two, which floats hold exactly. So the model is exact, and any
difference is a fault. A second limiter gets the same steps with thousands of sources in
tables of eight entries, and must keep its bounds.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from ipaddress import ip_address, ip_network

from mailbell.core.networks import Family, Network
from mailbell.core.notification import Transport
from mailbell.core.outcome import Outcome
from mailbell.limits.gate import LEAKED_SHARE, LEAKED_TOTAL, PENALTY, Gate
from mailbell.limits.limiter import Limiter, Senders

# At most eight prefixes of each length are strangers, and at most eight are listed.
SOURCES = {
    Family.IPV4: [
        # Two hosts of one /24 follow each other: they share the wide prefix.
        *("192.0.2.0", "192.0.2.1", "192.0.2.255", "192.0.3.0", "64.0.2.0"),
        *("127.0.0.1", "127.9.9.9"),  # one source
        *("203.0.113.7", "203.0.113.8"),  # the first is listed
        *("198.51.100.16", "198.51.100.17", "198.51.100.15"),  # the first two are listed
        *("10.1.2.3", "10.1.2.4", "10.1.3.3"),  # all are listed
    ],
    Family.IPV6: [
        *("2001:db8::", "2001:db8::1", "2001:db8:0:1::", "2001:db8:1::", "2a00::"),
        *("64:ff9b::192.0.2.0", "64:ff9b::203.0.113.7", "64:ff9b::10.1.2.3"),  # of IPv4
        *("2001:db8:9:9::7", "2001:db8:9:9::8"),  # the first is listed
        *("2001:db8:8:1::1", "2001:db8:8:2::1"),  # in a listed /56
        "2600:1::1",  # in a listed /16
    ],
}
LISTED = (
    *("203.0.113.7", "198.51.100.16/28", "10.0.0.0/8", "0.0.0.0/0"),
    *("2001:db8:9:9::7", "2001:db8:8::/56", "2600::/16", "::/0"),
)
PREFIXES = {4: ((32, 1), (24, 16)), 6: ((128, 1), (64, 4), (48, 16))}
OF_ALL = {4: 8, 6: 16}  # a listed network that is shorter names nobody
TRANSLATOR = ip_network("64:ff9b::/96")
# RFC 6052, section 3.1: its prefix stands for no address that is not global, such as those of RFC
# 1918. An address that looks as if it did is one of IPv6.
NEVER_TRANSLATED = [
    ip_network(each)
    for each in (
        "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16",
        "172.16.0.0/12", "192.168.0.0/16", "224.0.0.0/3",
    )
]  # fmt: skip
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


@dataclass(frozen=True)
class Sender:
    """What the limits know of a source before it sends anything."""

    version: int
    address: int
    listed: str  # the network that names it, or ""

    @classmethod
    def of(cls, source: str) -> "Sender":
        """Finds what a source counts as."""
        address = ip_address(source)
        if address in TRANSLATOR:
            embedded = ip_address(int(address) & 0xFFFFFFFF)
            if not any(embedded in network for network in NEVER_TRANSLATED):
                address = embedded
        containing = [
            network
            for network in map(ip_network, LISTED)
            if address in network and network.prefixlen >= OF_ALL[network.version]
        ]
        listed = str(max(containing, key=lambda network: network.prefixlen, default=""))
        if not listed and address in ip_network("127.0.0.0/8"):
            address = ip_address("127.0.0.1")
        return cls(address.version, int(address), listed)

    @property
    def has_own_bucket(self) -> bool:
        """Whether its listed network is small enough."""
        widest = PREFIXES[self.version][-1][0]
        return bool(self.listed) and ip_network(self.listed).prefixlen >= widest

    def buckets(self) -> list[tuple[object, int]]:
        """Returns the names of the buckets that it pays from, and their factors."""
        bits = PREFIXES[self.version][0][0]
        shared: list[tuple[object, int]] = [
            ((self.version, bool(self.listed), length, self.address >> bits - length), factor)
            for length, factor in PREFIXES[self.version]
        ]
        if not self.has_own_bucket:
            return shared
        if ip_network(self.listed).prefixlen == bits:
            return [(self.listed, 1)]
        return [shared[0], (self.listed, 16)]


class Model:
    """What `Limiter` promises, with unbounded memory."""

    def __init__(self, rate: Fraction, burst: int, total_rate: Fraction) -> None:
        self.rate = rate
        self.burst = burst
        self.second = max(burst, -int(-total_rate // 1))
        self.totals = {
            transport: ExactBucket(total_rate, 2 * self.second) for transport in Transport
        }
        self.leak_rate = total_rate * Fraction(LEAKED_TOTAL)
        self.buckets: dict[object, ExactBucket] = {}
        self.proven: set[object] = set()

    def bucket(self, name: object, rate: Fraction, burst: int) -> ExactBucket:
        """Returns a bucket, which is full at first."""
        return self.buckets.setdefault(name, ExactBucket(rate, burst))

    def paying(self, transport: Transport, sender: Sender) -> list[ExactBucket]:
        """Returns the buckets of the source, the narrowest first."""
        return [
            self.bucket((transport, name), self.rate * factor, self.burst * factor)
            for name, factor in sender.buckets()
        ]

    def reserve(self, transport: Transport, sender: Sender) -> Fraction:
        """Returns how many tokens of the total it must leave."""
        if sender.has_own_bucket:
            return Fraction(0)
        if sender.listed or (transport is Transport.TCP and self.place(sender) in self.proven):
            return Fraction(self.second, 2)
        return Fraction(self.second)

    def place(self, sender: Sender) -> object:
        """Returns the network that counts as one source once it has proven itself."""
        shift = 64 if sender.version == 6 else 0
        return sender.version, bool(sender.listed), sender.address >> shift

    def leaks(self, transport: Transport, sender: Sender, now: Fraction, chance: float) -> bool:
        """Decides about a datagram over the limit of its source."""
        if transport is Transport.TCP or chance >= LEAKED_SHARE:
            return False
        group = sender.version, bool(sender.listed)
        paying = [
            self.bucket(("leak", group, sender.address), self.rate, self.burst),
            self.bucket(("leak", group), self.leak_rate, max(1, round(self.leak_rate))),
        ]
        if any(bucket.at(now) < 1 for bucket in paying):
            return False
        for bucket in paying:
            bucket.take(Fraction(1))
        return True

    def admit(self, transport: Transport, sender: Sender, now: Fraction, chance: float) -> bool:
        """Takes a token from each bucket if all of them have one."""
        paying, total = self.paying(transport, sender), self.totals[transport]
        if any(bucket.at(now) < 1 for bucket in paying):
            return self.leaks(transport, sender, now, chance)
        if total.at(now) < 1 + self.reserve(transport, sender):
            return False
        for bucket in [*paying, total]:
            bucket.take(Fraction(1))
        return True

    def penalize(self, transport: Transport, sender: Sender, now: Fraction) -> None:
        """Takes the penalty from the narrowest bucket."""
        narrowest = self.paying(transport, sender)[0]
        narrowest.at(now)
        narrowest.take(Fraction(PENALTY))

    def prove(self, transport: Transport, sender: Sender) -> None:
        """Notes a good notification."""
        if transport is Transport.TCP:
            self.proven.add(self.place(sender))


def steps(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Splits an input into whole steps of three bytes."""
    whole = len(data) - len(data) % 3
    return zip(data[0:whole:3], data[1:whole:3], data[2:whole:3], strict=True)


def check_bounds(limiter: Limiter, gates: list[Gate]) -> None:
    """Checks what must be true of any limiter at any time."""
    statistics = limiter.statistics()
    assert all(
        table.entries <= table.capacity == 8
        for table in statistics.tables
        if not table.name.endswith("listed")
    )
    assert statistics.connections <= statistics.connections_limit
    for gate in gates:
        for places in gate._strangers.places:  # noqa: SLF001 - the bound
            assert all(1 <= held <= 2 * places.factor for held in places.held.values())


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
        senders=Senders(tuple(map(Network.parse, LISTED))),
    )


def check_model(data: bytes, rate: Fraction, burst: int, total_rate: Fraction) -> None:
    """Few sources in tables of eight entries: every decision equals the model's."""
    chances = [0.0]
    limiter, model = make(rate, burst, total_rate, chances), Model(rate, burst, total_rate)
    now = Fraction(1 << 20)
    for action, which, wait in steps(data):
        now += Fraction(wait * wait, 16)
        chances.append((action >> 5) / 8)
        transport, family = KINDS[action >> 1 & 3]
        text = SOURCES[family][which % len(SOURCES[family])]
        source, sender = int(ip_address(text)), Sender.of(text)
        gate = limiter.gate(transport, family)
        if action & 1 and which >= 192:
            gate.visitor(source).prove(float(now))
            model.prove(transport, sender)
        elif action & 1 and which >= 128:
            gate.visitor(source).penalize(float(now))
            model.penalize(transport, sender, now)
        else:
            admitted = gate.visitor(source).admit(float(now))
            assert admitted == model.admit(transport, sender, now, chances[-1])
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
        if gate.visitor(source).admit(now):
            gate.visitor(source).prove(now)
        if action & 1:
            gate.visitor(source).penalize(now)
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
