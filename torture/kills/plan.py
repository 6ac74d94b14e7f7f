"""What happens in a round, and when: decided by the seed and the number of the round alone.

The 31 ways to kill some of the five programs come equally often: each 31 rounds have each of them
once, in an order of their own. An account is rung in bursts. So the last notification of many
accounts still waits somewhere, in the sender, in the listener or in the agent, when one of them
is killed.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from itertools import combinations
from typing import Final

__all__ = [
    "ACCOUNTS",
    "SUBSETS",
    "WINDOW",
    "HookKill",
    "Kill",
    "Program",
    "Ring",
    "Round",
    "Way",
    "plan",
]


class Program(StrEnum):
    """What is killed."""

    LISTENER = "listener"
    SUBSCRIBER = "subscriber"
    AGENT = "agent"
    SENDER = "sender"
    HOOK = "hook"


class Way(StrEnum):
    """How a notification comes."""

    LINE = "line"  # a program writes to the sender's socket for hooks
    HOOK = "hook"  # mailbell-hook does
    DIRECT = "direct"  # another mail server rings the listener


@dataclass(frozen=True, slots=True)
class Kill:
    """When a program is killed, in seconds from the beginning of the round."""

    at: float
    program: Program


@dataclass(frozen=True, slots=True)
class Ring:
    """When an account is rung, and how."""

    at: float
    way: Way
    account: str


@dataclass(frozen=True, slots=True)
class HookKill:
    """A hook that is killed.

    Attributes:
        at: when it is started.
        account: whose mail it tells of.
        share: at which part of its life it is killed, from 0 to 1.
        is_late: the life counts from its first socket on, and not from its start.
    """

    at: float
    account: str
    share: float
    is_late: bool


@dataclass(frozen=True, slots=True)
class Round:
    """All that happens in one round.

    Attributes:
        number: of it.
        killed: which programs are killed, each at least once.
        kills: of all programs but the hook, by time.
        hooks: hooks that are killed, by time.
        rings: by time.
    """

    number: int
    killed: tuple[Program, ...]
    kills: tuple[Kill, ...]
    hooks: tuple[HookKill, ...]
    rings: tuple[Ring, ...]


ACCOUNTS: Final = tuple(f"user{number}" for number in range(12))
SUBSETS: Final = tuple(
    each for size in range(1, len(Program) + 1) for each in combinations(Program, size)
)
WINDOW: Final = 0.6
"""Seconds in which all kills and notifications of a round begin."""

_RUNG: Final = 0.8  # how probable it is that an account is rung in a round
_BURST: Final = 0.15  # seconds in which one account is rung several times
_MOST: Final = 4  # times
_WAYS: Final = {Way.LINE: 65, Way.DIRECT: 30, Way.HOOK: 5}  # hooks cost a process each
# A start takes a third of a second or more: a second kill within it finds the program starting.
_AGAIN: Final = 0.4
_STARTING: Final = 0.4  # seconds
_HOOKS: Final = 3  # hooks that are killed in a round


def plan(seed: int, number: int) -> Round:
    """Return what happens in a round.

    Args:
        seed: of all rounds.
        number: of the round, from 0.
    """
    chance = random.Random(f"{seed} {number}")  # noqa: S311  it must be repeatable
    killed = _killed(seed, number)
    return Round(
        number=number,
        killed=killed,
        kills=tuple(sorted(_kills(chance, killed), key=lambda each: each.at)),
        hooks=tuple(sorted(_hooks(chance, killed), key=lambda each: each.at)),
        rings=tuple(sorted(_rings(chance), key=lambda each: each.at)),
    )


def _killed(seed: int, number: int) -> tuple[Program, ...]:
    block, place = divmod(number, len(SUBSETS))
    order = list(SUBSETS)
    random.Random(f"{seed} block {block}").shuffle(order)  # noqa: S311  it must be repeatable
    return order[place]


def _kills(chance: random.Random, killed: tuple[Program, ...]) -> Iterator[Kill]:
    for program in killed:
        if program is Program.HOOK:
            continue
        at = chance.uniform(0, WINDOW)
        yield Kill(at, program)
        if chance.random() < _AGAIN:
            yield Kill(at + chance.uniform(0, _STARTING), program)


def _hooks(chance: random.Random, killed: tuple[Program, ...]) -> Iterator[HookKill]:
    if Program.HOOK not in killed:
        return
    for account in chance.sample(ACCOUNTS, _HOOKS):
        at = chance.uniform(0, WINDOW)
        yield HookKill(at, account, chance.random(), chance.random() < 0.5)


def _rings(chance: random.Random) -> Iterator[Ring]:
    ways, weights = tuple(_WAYS), tuple(_WAYS.values())
    for account in ACCOUNTS:
        if chance.random() >= _RUNG:
            continue
        began = chance.uniform(0, WINDOW)
        for _ in range(chance.randint(1, _MOST)):
            (way,) = chance.choices(ways, weights)
            yield Ring(began + chance.uniform(0, _BURST), way, account)
