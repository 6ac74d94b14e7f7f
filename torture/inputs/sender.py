"""mailbell-sender for one piece of work: its configuration, its inputs and what it must count."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final

from harness.ringer import Ringer, ringing

from mailbell.interfaces.sender import SENDER_SERVICE
from torture.inputs.buckets import Bucket, admitted
from torture.inputs.call_model import ByInterface
from torture.inputs.call_words import ByTable
from torture.inputs.calls import SENDER
from torture.inputs.channel import Channel, Verdict, Watched
from torture.inputs.counting import Expected
from torture.inputs.hook_lines import SENTINEL, cyrus_datagram
from torture.inputs.sender_model import key_of_cyrus
from torture.inputs.sender_plan import Models, Plan
from torture.inputs.speaking import Input, Said, Target
from torture.inputs.talking import make_channel

__all__ = ["Plan", "Sender", "sending"]

_FLIGHT: Final = 32  # connections at once; the sender has 256 places
_WAITING: Final = 100  # biff datagrams in the queue of the sender
_BATCH: Final = 64  # what the sender takes with one look at the clock
# Seconds that the sender may take to read a connection that was closed without waiting for it.
_LATE: Final = 1.0
# What counts a token of the sender's own limits.
_PAYS: Final = ("accepted", "refused_address")
# docs/inputs.md: requests a second, and at once.
_TRUSTED: Final = (10_000.0, 50_000.0)
_STRANGER: Final = (100.0, 1000.0)


class Sender:
    """A mailbell-sender that runs.

    Args:
        daemon: the process.
        plan: what it is configured to do.
    """

    def __init__(self, daemon: Ringer, plan: Plan) -> None:
        self.daemon = daemon
        self._plan = plan
        self._asked = 0
        self._models = Models(plan, daemon.path)
        self._bucket = Bucket(*(_TRUSTED if plan.is_trusted else _STRANGER))
        self._comsat_bucket = Bucket(*_STRANGER)

    def channels(self) -> list[Channel]:
        """Return the ways to speak to it."""
        folder = self.daemon.path
        parts, words = self._models.parts, self._models.words
        hook = Channel(
            name="mailbell-sender hook",
            # A stranger is closed at the first refusal, and has few connections and requests.
            size=2000 if self._plan.is_trusted else 300,
            target=Target(("unix", f"{folder}/hook"), _FLIGHT),
            make=self._models.make_hook,
            judges=[parts.hook, words.hook],
            watch=partial(self._watch, "hook"),
            total=partial(self._limited, self._bucket),
        )
        cyrus = Channel(
            name="mailbell-sender cyrus",
            size=400,
            target=Target(("datagrams", f"{folder}/cyrus")),
            make=self._models.make_cyrus,
            judges=[parts.cyrus, words.cyrus],
            watch=self._watch,
            total=_merged,
            closing=(_sentinel(),),
        )
        local = make_channel(
            "mailbell-sender control socket",
            size=50,
            path=f"{folder}/control",
            interface=SENDER,
            models=[
                ByInterface(SENDER_SERVICE, take=parts.call, knows=parts.knows).talk,
                ByTable(SENDER, words.knows, words.ring, words.seen).talk,
            ],
            watch=self._watch_local,
        )
        return [hook, *self._comsat(), cyrus, local]

    def _comsat(self) -> Iterator[Channel]:
        for place in self.daemon.status()["listening"]:
            kind, _, where = place.partition(" ")
            if kind == "comsat":
                host, _, port = where.rpartition(":")
                yield Channel(
                    name=f"mailbell-sender comsat {'ipv6' if '[' in host else 'ipv4'}",
                    size=1000,
                    target=Target(("udp", host.strip("[]"), port), _WAITING),
                    make=self._models.make_comsat,
                    judges=[self._models.parts.comsat, self._models.words.comsat],
                    watch=self._watch,
                    total=partial(self._limited, self._comsat_bucket),
                )

    def _watch_local(self) -> Watched:
        status = self._status()
        # The connections that have asked for the status are no inputs.
        own = {"connected": self._asked, "disconnected": self._asked - 1}
        events = {name: n - own.get(name, 0) for name, n in status["local"].items()}
        return Watched(events | {f"input {name}": n for name, n in status["inputs"].items()})

    def _status(self) -> dict[str, Any]:
        self._asked += 1
        return self.daemon.status()

    def _watch(self, kind: str = "") -> Watched:
        status = self._status()
        return Watched(status["inputs"], status["connections"] if kind else 0)

    def _limited(
        self,
        bucket: Bucket,
        inputs: Sequence[Input],
        verdicts: Sequence[Sequence[Verdict]],
        said: Said,
    ) -> Expected:
        """Sum the verdicts, with the limit that all these inputs share."""
        del inputs
        expected = Expected()
        # The order of connections is not known. So each of them came at any time of the round.
        whole = (min(said.began) / 1e9, max(said.ended) / 1e9 + _LATE)
        for place, judged in enumerate(verdicts):
            since, until = _window(said, place) if bucket is self._comsat_bucket else whole
            for verdict in judged:
                pays = verdict[0] in _PAYS
                granted = admitted([bucket], since, until) if pays else True
                expected.add(_limit(verdict, granted))
        return expected


def _window(said: Said, place: int) -> tuple[float, float]:
    """Return between which times the sender met a datagram."""
    return said.began[max(0, place - _BATCH)] / 1e9, said.ended[place] / 1e9


def _sentinel() -> Input:
    address, _ = SENTINEL
    return Input((cyrus_datagram({"event": "Login", "user": "anna", "clientIP": address}),))


def _limit(verdict: Verdict, granted: bool | None) -> Verdict:
    if granted is None:
        return (*verdict, "rate_limited")
    return verdict if granted else ("rate_limited",)


def _merged(inputs: Sequence[Input], verdicts: Sequence[Sequence[Verdict]], said: Said) -> Expected:
    """Sum the verdicts on datagrams of Cyrus. What asks the same may be counted once."""
    del said
    expected = Expected()
    known = set()
    for asked, judged in zip(map(key_of_cyrus, inputs), verdicts, strict=True):
        for verdict in judged:
            # "" stands for: not counted.
            expected.add((*verdict, "") if verdict and asked in known else verdict)
        known.add(asked)
    return expected


@contextmanager
def sending(directory: Path, plan: Plan, program: Sequence[str] = ()) -> Iterator[Sender]:
    """Run a mailbell-sender until the end of the block.

    Args:
        directory: for its files.
        plan: what it is configured to do.
        program: what the interpreter runs instead.
    """
    with ringing(directory, plan.toml(directory), program=program) as daemon:
        yield Sender(daemon, plan)
