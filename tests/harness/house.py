"""An admission with all its real parts except the clock."""

from collections.abc import Callable
from dataclasses import dataclass, field

from mailbell.core.networks import Family, parse_address
from mailbell.core.notification import Notification, Transport
from mailbell.core.outcome import Outcome
from mailbell.limits.limiter import Gate, Limiter, Senders
from mailbell.listener._accounts import AccountMap
from mailbell.listener._admission import Admission, Caller
from mailbell.listener._counters import Counters
from mailbell.listener._hub import Hub
from mailbell.listener.configuration import Configuration, parse
from mailbell.logs.journal import Journal


@dataclass
class House:
    configuration: Configuration
    stamp: Callable[[], int] = lambda: 1234
    lines: list[str] = field(default_factory=list)
    woken: list[Notification] = field(default_factory=list)
    counters: Counters = field(default_factory=Counters)

    def __post_init__(self) -> None:
        translation = self.configuration.sources.translation
        accounts = AccountMap(
            self.configuration.account, self.configuration.unmatched == "all", translation
        )
        self.hub = Hub(
            accounts.names, interval=1, epoch="e", started=0, on_wakeup=self.woken.append
        )
        self.journal = Journal(self.lines.append, lambda: 0.0)
        limits = self.configuration.limits
        self.limiter = Limiter(
            rate=limits.rate,
            burst=limits.burst,
            total_rate=limits.total_rate,
            connections=limits.connections,
            connections_per_source=limits.connections_per_source,
            sources=limits.sources,
            udp=True,
            seed=1,
            random=lambda: 1.0,
            senders=Senders(tuple(self.configuration.listed), translation),
        )
        self.admission = Admission(
            self.configuration.sources,
            accounts,
            self.hub,
            self.counters,
            self.journal,
            self.stamp,
        )

    def gate(self, family: Family) -> Gate:
        return self.limiter.gate(Transport.TCP, family)

    def meet(self, source: str) -> Caller:
        family, address = parse_address(source)
        return self.admission.meet(self.gate(family), address)

    def refusal(self, source: str, now: float = 0.0) -> Outcome | None:
        return self.admission.refusal(self.meet(source), now)

    def conclude(self, outcome: Outcome, source: str, local: str | None = None) -> Outcome:
        called = None if local is None else parse_address(local)[1]
        return self.admission.conclude(outcome, self.meet(source), 0.0, local=called, data=b"x\r\n")

    def counted(self, transport: Transport = Transport.TCP) -> dict[Outcome, int]:
        """Return the outcomes that are not zero."""
        return {name: n for name, n in self.counters.outcomes[transport].items() if n}


def house(toml: str = "", stamp: Callable[[], int] = lambda: 1234) -> House:
    return House(parse(toml.encode()), stamp)
