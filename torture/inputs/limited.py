"""A mailbelld whose limits are in force: each decision is compared, as far as time permits.

The inputs are said one after the other, and the time of each is known between two bounds. A bucket
is empty for hours or has a token again within the round, as the plan says.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random
from typing import Final

from harness.daemon import Daemon, started

from torture.inputs.buckets import Bucket, admitted
from torture.inputs.channel import Channel, Verdict, Watched
from torture.inputs.counting import Expected
from torture.inputs.line_model import ByGrammar, ByPattern
from torture.inputs.lines import cut, make_bytes
from torture.inputs.speaking import Ends, Input, Said, Target

__all__ = ["Limited", "Plan", "limiting"]

# docs/configuration.md and SECURITY.md: what invalid input costs beyond its token, and how many
# times the allowance of one source its network has.
_PENALTY: Final = 4.0
_NETWORK: Final = 16
_RATES: Final = {"1/h": 1 / 3600, "2/s": 2.0, "20/s": 20.0}
_BATCH: Final = 64  # what the daemon takes with one look at the clock
_ONE_SOURCE: Final = 0x7F000001  # all of 127.0.0.0/8, if no account lists it


@dataclass(frozen=True, slots=True)
class Plan:
    """What a mailbelld is configured to do.

    Attributes:
        rate: of one source, as in the configuration.
        burst: of one source.
        is_listed: whether an account lists the sources, so that each has limits of its own.
    """

    rate: str = "1/h"
    burst: int = 10
    is_listed: bool = True

    @classmethod
    def draw(cls, rng: Random) -> "Plan":
        """Return a plan.

        Args:
            rng: decides.
        """
        is_listed = rng.random() < 0.8
        # One source that never pauses has a new token at a moment that cannot be told from here.
        rate = rng.choice(sorted(_RATES)) if is_listed else "1/h"
        return cls(rate, rng.choice((3, 10, 50)), is_listed)

    def toml(self, directory: Path) -> str:
        """Return the configuration.

        Args:
            directory: of the local socket.
        """
        return f"""
unmatched = "all"
[listen]
tcp = ["127.0.0.1:0"]
udp = ["127.0.0.1:0"]
user = "nobody"
[socket]
path = "{directory}/mailbell.sock"
group = ""
[protocol]
deadline = "1m"
[limits]
rate = "{self.rate}"
burst = {self.burst}
total_rate = "1000000/s"
sources = 65536
[[account]]
name = "one"
sources = ["{"127.0.0.0/8" if self.is_listed else "192.0.2.0/24"}"]
"""


class Limited:
    """A mailbelld that runs.

    Args:
        daemon: the process.
        plan: what it is configured to do.
    """

    def __init__(self, daemon: Daemon, plan: Plan) -> None:
        self.daemon = daemon
        self._plan = plan
        self._models = (ByGrammar(("crlf",)), ByPattern(("crlf",)))
        self._buckets: dict[tuple[str, int, int], Bucket] = {}

    def channels(self) -> list[Channel]:
        """Return the ways to speak to it."""
        return [self._channel(transport) for transport in ("tcp", "udp")]

    def _channel(self, transport: str) -> Channel:
        _, port = self.daemon.endpoint(transport, "127.0.0.1")
        return Channel(
            name=f"mailbelld {transport} ipv4, limits in force",
            size=2000,
            target=Target((transport, "127.0.0.1", str(port)), 1 if transport == "tcp" else 16),
            make=partial(self._make, transport),
            judges=[partial(self._judge, model, transport) for model in self._models],
            watch=partial(self._watch, transport),
            total=partial(self._total, transport),
        )

    def _make(self, transport: str, rng: Random) -> Input:
        # Some networks with many hosts, and hosts that come back again and again.
        network = int(rng.random() * rng.random() * 200)
        host = 1 + int(rng.random() * rng.random() * (250 if network % 4 == 0 else 4))
        source = 127 << 24 | 1 << 16 | network << 8 | host
        data = make_bytes(rng)[:1400]
        if transport == "udp":
            return Input((data,) if data else (), source=source)
        whole = Input((data,) if data else (), Ends.FINISHES, source)
        torn = whole._replace(pieces=cut(rng, data))
        return torn if len(self._models[0].stream(torn)) == 1 else whole

    def _judge(
        self, model: ByGrammar | ByPattern, transport: str, said: Input
    ) -> Sequence[Verdict]:
        return (model.stream(said) if transport == "tcp" else model.datagram(said.data),)

    def _total(
        self,
        transport: str,
        inputs: Sequence[Input],
        verdicts: Sequence[Sequence[Verdict]],
        said: Said,
    ) -> Expected:
        expected = Expected()
        for place, (verdict,) in enumerate(verdicts):
            since = said.began[max(0, place - _BATCH)] / 1e9
            until = said.ended[place] / 1e9
            if verdict != ("kernel_dropped",):
                expected.add(self._limit(transport, inputs[place].source, verdict, since, until))
            else:
                expected.add(verdict)
        return expected

    def _limit(
        self, transport: str, source: int, verdict: Verdict, since: float, until: float
    ) -> Verdict:
        buckets = self._of(transport, source if self._plan.is_listed else _ONE_SOURCE)
        granted = admitted(buckets, since, until)
        if granted is False:
            return ("rate_limited",)
        if verdict != ("accepted",):
            buckets[0].take(since, until, _PENALTY, surely=granted is True)
        return verdict if granted else (*verdict, "rate_limited")

    def _of(self, transport: str, source: int) -> list[Bucket]:
        """Return the buckets that a source pays from, its own first."""
        rate = _RATES[self._plan.rate]
        found = []
        for low_bits, factor in ((0, 1), (8, _NETWORK)):
            key = (transport, low_bits, source >> low_bits)
            fresh = Bucket(rate * factor, self._plan.burst * factor)
            found.append(self._buckets.setdefault(key, fresh))
        return found

    def _watch(self, transport: str) -> Watched:
        status = self.daemon.status()
        if transport == "tcp":
            return Watched(status.outcomes.tcp, status.connections)
        # Chance lets some datagrams through although they are over the limit. The daemon says how
        # many. So it is known how many were over it.
        counted = dict(status.outcomes.udp)
        counted["accepted"] -= status.leaked
        counted["rate_limited"] += status.leaked
        return Watched({**counted, "kernel_dropped": status.kernel_dropped or 0})


@contextmanager
def limiting(directory: Path, plan: Plan, program: Sequence[str] = ()) -> Iterator[Limited]:
    """Run a mailbelld until the end of the block.

    Args:
        directory: for its files.
        plan: what it is configured to do.
        program: what the interpreter runs instead.
    """
    with started(directory, plan.toml(directory), program=program) as daemon:
        yield Limited(daemon, plan)
