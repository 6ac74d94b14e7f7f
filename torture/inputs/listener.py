"""mailbelld for one piece of work: its configuration, its inputs and what it must count."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random
from typing import Final

from harness.daemon import Daemon, started

from mailbell.interfaces.listener import LISTENER_SERVICE, Status
from torture.inputs.call_model import ByInterface
from torture.inputs.call_words import ByTable
from torture.inputs.calls import LISTENER
from torture.inputs.channel import Channel, Verdict, Watched
from torture.inputs.counting import Expected
from torture.inputs.line_model import ByGrammar, ByPattern
from torture.inputs.lines import make_bytes, make_connection
from torture.inputs.speaking import Ends, Input, Said, Target
from torture.inputs.talking import make_channel

__all__ = ["Listener", "Plan", "listening"]

_TERMINATORS: Final = (
    ("crlf",), ("crlf",), ("crlf", "lf"), ("crlf", "eof"), ("crlf", "lf", "eof"), ("lf",), ("eof",),
)  # fmt: skip
# The sources by their second octet: of two accounts, denied, of no account, and of no list.
_ONE, _TWO, _DENIED, _NOBODY, _UNLISTED = 1, 2, 66, 77, 88
_ALL: Final = (_ONE,) * 12 + (_TWO,) * 4 + (_DENIED, _NOBODY)
_ACCOUNTS: Final = ("one", "two")
# Nanoseconds. The kernel holds a silent connection back for a second.
_HELD_BACK: Final = 900_000_000
_FLIGHT: Final = 64  # connections at once
_LONGEST: Final = 60_000  # bytes of a datagram
_WAITING: Final = 300  # datagrams in the queue of the daemon; it has room for some thousand


@dataclass(frozen=True, slots=True)
class Plan:
    """What a mailbelld is configured to do.

    Attributes:
        terminators: what may end the line.
        is_listed: whether only some networks may call.
        is_hasty: whether the deadline is so short that connections are kept until it passes.
    """

    terminators: tuple[str, ...] = ("crlf",)
    is_listed: bool = False
    is_hasty: bool = False

    @classmethod
    def draw(cls, rng: Random) -> "Plan":
        """Return a plan.

        Args:
            rng: decides.
        """
        return cls(rng.choice(_TERMINATORS), rng.random() < 0.4, rng.random() < 0.2)

    def toml(self, directory: Path) -> str:
        """Return the configuration. No limit is reached with it.

        Args:
            directory: of the local socket.
        """
        octets = (_ONE, _TWO, _DENIED, _NOBODY) if self.is_listed else ()
        allow = [*(f"127.{octet}.0.0/16" for octet in octets), "::1"] if self.is_listed else []
        return f"""
[listen]
tcp = ["127.0.0.1:0", "[::1]:0"]
udp = ["127.0.0.1:0", "[::1]:0"]
user = "nobody"
[socket]
path = "{directory}/mailbell.sock"
group = ""
[protocol]
terminators = {list(self.terminators)}
deadline = "{"200ms" if self.is_hasty else "1m"}"
[sources]
allow = {allow}
deny = ["127.{_DENIED}.0.0/16"]
[limits]
rate = "1000000/s"
burst = 1000000
total_rate = "1000000/s"
connections = 16384
connections_per_source = 16384
[[account]]
name = "one"
sources = ["127.{_ONE}.0.0/16", "::1"]
[[account]]
name = "two"
sources = ["127.{_TWO}.0.0/16"]
"""


class Listener:
    """A mailbelld that runs.

    Args:
        daemon: the process.
        plan: what it is configured to do.
    """

    def __init__(self, daemon: Daemon, plan: Plan) -> None:
        self.daemon = daemon
        self._plan = plan
        self._asked = 0
        self._models = (ByGrammar(plan.terminators), ByPattern(plan.terminators))

    def channels(self) -> list[Channel]:
        """Return the ways to speak to it."""
        found = []
        for transport, size in (("tcp", 6000), ("udp", 30_000)):
            for family, host in (("ipv4", "127.0.0.1"), ("ipv6", "::1")):
                _, port = self.daemon.endpoint(transport, host)
                target = Target((transport, host, str(port)), self._at_once(transport))
                is_old = family == "ipv4"
                found.append(
                    Channel(
                        name=f"mailbelld {transport} {family}",
                        # One address has few ports, which the kernel gives back after a second.
                        size=size if is_old else size // 4,
                        target=target,
                        make=partial(self._make, transport == "tcp", is_old),
                        judges=[
                            partial(self._judge, model, transport == "tcp")
                            for model in self._models
                        ],
                        watch=partial(self._watch, transport),
                        total=partial(self._total, transport == "tcp"),
                    )
                )
        local = make_channel(
            "mailbelld local socket",
            size=30,  # the daemon permits a user 100 calls a second
            path=str(self.daemon.path),
            interface=LISTENER,
            models=[
                ByInterface(LISTENER_SERVICE, accounts=_ACCOUNTS).talk,
                ByTable(LISTENER, _ACCOUNTS.__contains__).talk,
            ],
            watch=self._watch_local,
        )
        return [*found, local]

    def _at_once(self, transport: str) -> int:
        if transport == "udp":
            return _WAITING
        # A connection that is kept until the deadline costs time and nothing else.
        return 300 if self._plan.is_hasty else _FLIGHT

    def _make(self, is_stream: bool, is_old: bool, rng: Random) -> Input:
        source = self._source(rng, is_stream) if is_old else 0
        if not is_stream:
            data = make_bytes(rng)[:_LONGEST]
            return Input((data,) if data else (), source=source)
        if not self._plan.is_hasty:
            return make_connection(rng, self._models[0].is_decided, source)
        # All at once, and never an end: so it does not matter how long anything takes.
        data = make_bytes(rng)
        if not data and rng.random() < 0.9:
            data = b"n"  # the kernel holds a silent connection back for a second
        return Input((data,) if data else (), Ends.STAYS, source)

    def _source(self, rng: Random, is_stream: bool) -> int:
        octet = _ALL[int(rng.random() * len(_ALL))]
        # The kernel answers no TCP source that is not listed.
        if not is_stream and rng.random() < 0.05:
            octet = _UNLISTED
        return 127 << 24 | octet << 16 | 1 + int(rng.random() * 65_534)

    def _judge(
        self, model: ByGrammar | ByPattern, is_stream: bool, said: Input
    ) -> Sequence[Verdict]:
        octet = _octet(said)
        verdict = model.stream(said) if is_stream else model.datagram(said.data)
        if not verdict:
            return (verdict,)
        if octet == _UNLISTED and self._plan.is_listed:
            return (("kernel_dropped",),)
        if octet == _DENIED:
            return (("denied_source",) if is_stream or verdict == ("accepted",) else verdict,)
        if octet in {_NOBODY, _UNLISTED}:
            verdict = tuple(name.replace("accepted", "unknown_account") for name in verdict)
        return (verdict,)

    def _total(
        self,
        is_stream: bool,
        inputs: Sequence[Input],
        verdicts: Sequence[Sequence[Verdict]],
        said: Said,
    ) -> Expected:
        expected = Expected()
        for place, (verdict,) in enumerate(verdicts):
            is_late = is_stream and said.ended[place] - said.began[place] >= _HELD_BACK
            late = self._late(inputs[place], verdict) if is_late else ""
            # A connection that is not counted may be, and any other one may count as this.
            expected.add((*(verdict or ("",)), late) if late else verdict)
        return expected

    def _late(self, said: Input, verdict: Verdict) -> str:
        """Return what a connection may count as if it said nothing for a second.

        The kernel has passed it on by then, although it is silent. On a busy machine the program
        that says the inputs may be so late.
        """
        if self._plan.is_hasty:
            return "" if verdict == ("denied_source",) else "deadline"
        return "" if verdict else ("denied_source" if _octet(said) == _DENIED else "reset")

    def _watch_local(self) -> Watched:
        status = self._status()
        # The connections that have asked for the status are no inputs.
        own = {"connected": self._asked, "disconnected": self._asked - 1}
        return Watched({name: n - own.get(name, 0) for name, n in status.local.items()})

    def _status(self) -> Status:
        self._asked += 1
        return self.daemon.status()

    def _watch(self, transport: str) -> Watched:
        status = self._status()
        if transport == "tcp":
            return Watched(status.outcomes.tcp, status.connections)
        dropped = {"kernel_dropped": status.kernel_dropped or 0}
        return Watched({**status.outcomes.udp, **dropped})


def _octet(said: Input) -> int:
    return said.source >> 16 & 0xFF


@contextmanager
def listening(
    directory: Path,
    plan: Plan,
    program: Sequence[str] = (),
    environ: Mapping[str, str] | None = None,
) -> Iterator[Listener]:
    """Run a mailbelld until the end of the block.

    Args:
        directory: for its files.
        plan: what it is configured to do.
        program: what the interpreter runs instead.
        environ: added to its environment.
    """
    toml = plan.toml(directory)
    with started(directory, toml, program=program, environ=dict(environ or {})) as daemon:
        yield Listener(daemon, plan)
