"""The floods: what each one is, and how all of them run at once.

Each is a program of its own. They run in the idle class (SCHED_IDLE, sched(7)): all of them get the
time that the daemon and the good senders leave, and so this machine sends as many packets as it
can. Only packets without a connection are paced, because they cost the daemon itself nothing.
"""

import os
import random
import select
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final, NamedTuple

from bench.processes import BUILD, SOURCE, Failed, build
from torture.floods.hosts import Hosts
from torture.floods.members import KINDS
from torture.floods.sources import ATTACKED, IPV4_FIRST, PORT

__all__ = ["SOURCES", "Attack", "attacking", "attacks", "compile_programs"]

SOURCES: Final = 100_000
"""How many sources each flood from the network has."""

_ROOT: Final = Path(__file__).resolve().parents[2]
_OURS: Final = Path(__file__).resolve().parent / "c"
_PER_SECOND: Final = 10_000
_HOUR: Final = 3600
_IDLE: Final = ("chrt", "--idle", "0")
# Seconds. In the idle class a program may have to wait for its first moment.
_PATIENCE: Final = 60.0
# How many sets of sources a flood may begin with (MAX_SOURCES of bench/c/address.h).
_SETS: Final = 100

# The first ones are interpreters, which take long to start beside the others.
_INTERPRETERS: Final = 1 + len(KINDS)

_MEMBERS: Final = {
    "connect": "local: connect and close",
    "half": "local: half messages",
    "calls": "local: calls without end",
    "deaf": "local: subscribers that never read",
}


class Attack(NamedTuple):
    """One flood.

    Attributes:
        name: of what it sends, in the plural.
        command: what the attackers' host runs. It prints "begins", and what it has sent at SIGTERM.
    """

    name: str
    command: Sequence[str]


def compile_programs() -> None:
    """Compile the programs of bench/c/, and those of the attackers.

    Raises:
        Failed: there is no C compiler, or it refuses a program.
    """
    build()
    compiler = os.environ.get("CC", "cc")
    for source, name in ((SOURCE / "flood.c", "host-flood"), (_OURS / "raw.c", "raw")):
        # It has another name until it is complete, because another run may build or use it.
        fresh = BUILD / f"{name}.{os.getpid()}"
        options = ["-O2", "-std=c11", "-Wall", "-Wextra", "-Werror", f"-I{SOURCE}"]
        first = f"-DIPV4_FIRST={IPV4_FIRST:#x}u"
        done = subprocess.run([compiler, *options, first, "-o", fresh, source], check=False)
        if done.returncode:
            raise Failed(f"{compiler} does not compile {source.name}")
        fresh.replace(BUILD / name)


def attacks(path: str, seed: int) -> list[Attack]:
    """Return all floods.

    Args:
        path: of the daemon's local socket.
        seed: decides with which of their sources they begin, and what the members say.
    """
    chance = random.Random(seed)  # noqa: S311 - it is to be repeatable, and is no secret
    return [
        Attack("slow senders", _python("slow", chance.randrange(_SETS) * SOURCES, SOURCES)),
        *(
            Attack(_MEMBERS[kind], _python("members", kind, path, chance.randrange(1 << 32)))
            for kind in KINDS
        ),
        *(
            Attack(name, _raw(kind, chance))
            for kind, name in (("syn", "half-open connections"), ("rst", "RSTs of no connection"))
        ),
        *(_flood(chance, *words) for words in _FLOODS),
    ]


_FLOODS: Final = tuple(
    (f"{what} by {transport.upper()} from IPv{family}", transport, family, message)
    for transport, message, what in (
        ("udp", "line", "lines"),
        ("udp", "garbage", "garbage"),
        ("tcp", "line", "lines"),
        ("tcp", "garbage", "garbage"),
        ("tcp", "silent", "reset connections"),
    )
    for family in (4, 6)
)


def _flood(chance: random.Random, name: str, transport: str, family: int, message: str) -> Attack:
    first = chance.randrange(_SETS) * SOURCES
    numbers = PORT, first, SOURCES, 0, _HOUR
    words = [transport, ATTACKED[family], *map(str, numbers), message]
    return Attack(name, [*_IDLE, str(BUILD / "host-flood"), *words])


def _raw(kind: str, chance: random.Random) -> list[str]:
    numbers = PORT, chance.randrange(SOURCES), SOURCES, _PER_SECOND
    return [*_IDLE, str(BUILD / "raw"), ATTACKED[4], *map(str, numbers), kind]


def _python(module: str, *words: object) -> list[str]:
    return [sys.executable, "-m", f"torture.floods.{module}", *map(str, words)]


@contextmanager
def attacking(hosts: Hosts, floods: Sequence[Attack], sent: Counter[str]) -> Iterator[None]:
    """Run all floods until the end of the block.

    Args:
        hosts: where the attackers are.
        floods: what they do.
        sent: what each one has sent is added at the end.

    Raises:
        Failed: one does not begin, or has ended by itself.
    """
    with ExitStack() as stack:
        last = time.monotonic() + _PATIENCE
        running = []
        for several in (floods[:_INTERPRETERS], floods[_INTERPRETERS:]):
            begun = [
                _Running(flood, stack.enter_context(_started(hosts, flood))) for flood in several
            ]
            for each in begun:
                each.await_begin(last)
            running += begun
        try:
            yield
        finally:
            for each in running:
                each.process.terminate()
            for each in running:
                sent[each.attack.name] += each.result()


@contextmanager
def _started(hosts: Hosts, flood: Attack) -> Iterator["subprocess.Popen[bytes]"]:
    process = hosts.attackers.popen(
        flood.command, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, cwd=_ROOT
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


class _Running(NamedTuple):
    """A flood that runs."""

    attack: Attack
    process: "subprocess.Popen[bytes]"

    def await_begin(self, last: float) -> None:
        output = self.process.stdout
        assert output is not None  # noqa: S101 - it was started so
        ready, _, _ = select.select([output], [], [], max(0.0, last - time.monotonic()))
        if not ready or output.readline() != b"begins\n":
            raise Failed(f"{self.attack.name}: it does not begin")

    def result(self) -> int:
        """Return how much it has sent."""
        output, _ = self.process.communicate(timeout=_PATIENCE)
        if self.process.returncode:
            raise Failed(f"{self.attack.name}: it ended with code {self.process.returncode}")
        return int(output.split()[0])
