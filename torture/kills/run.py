"""Plays rounds of kills in several worlds at once, and reports what came of them."""

import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from torture.figures import Figure, Report
from torture.kills.ledger import Debt
from torture.kills.plan import Program, Round, plan
from torture.kills.world import Played, World

__all__ = ["Plays", "run"]

WORLDS: Final = 2
_OFTEN: Final = 20  # rounds between two lines of progress
_END: Final = 4.0  # seconds that the last rounds and the end of all programs take


def run(seconds: float, seed: int, say: Callable[[str], None]) -> Report:
    """Play as many rounds as fit into a time.

    Args:
        seconds: about how long.
        seed: of all moments.
        say: prints a line of progress.

    Returns:
        Rounds, kills, accounts that were owed a look, and those that were lost.
    """
    return Plays(seed, say, until=time.monotonic() + seconds - _END).play()


@dataclass
class Plays:
    """All rounds of a run.

    Args:
        seed: of all moments.
        say: prints a line of progress.
        until: when no further round begins, in seconds of the monotonic clock; None: never.
        rounds: how many; None: without limit.
        first: the number of the first one.
        worlds: how many are played at once. In every second one the listener's sockets are held
            while it is away, as the shipped units do; in the others they are not.
        make: makes a world.
    """

    seed: int
    say: Callable[[str], None]
    until: float | None = None
    rounds: int | None = None
    first: int = 0
    worlds: int = WORLDS
    make: Callable[..., World] = World
    _kills: Counter[Program] = field(default_factory=Counter)
    _subsets: Counter[tuple[Program, ...]] = field(default_factory=Counter)
    _count: Counter[str] = field(default_factory=Counter)
    _longest: float = 0.0
    _failures: list[str] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _begun: int = 0

    def play(self) -> Report:
        """Play all rounds.

        Returns:
            What came of them.
        """
        self.say(f"kills: seed {self.seed}, {self.worlds} worlds at once")
        with ThreadPoolExecutor(self.worlds) as pool:
            worlds = [pool.submit(self._play_world, number) for number in range(self.worlds)]
            try:
                for done in worlds:
                    done.result()
            finally:
                self.until = 0.0  # if one has failed, or Ctrl-C came, the others end too
        return Report("kills", tuple(self._figures()), tuple(self._failures))

    def _figures(self) -> list[Figure]:
        return [
            Figure("rounds", self._count["rounds"]),
            Figure("ways to kill some of the five", len(self._subsets)),
            Figure("kills", self._kills.total()),
            *(Figure(f"kills of the {program}", self._kills[program]) for program in Program),
            Figure("killed hooks that had written their line", self._count["late hooks"]),
            Figure("notifications", self._count["notifications"]),
            Figure("accounts owed", self._count["accounts"]),
            Figure("lost", self._count["lost"], must_be=0),
            Figure("programs that ended by themselves", self._count["odd"], must_be=0),
            Figure("longest until all was looked at", round(self._longest, 2), "s"),
        ]

    def _next(self) -> Round | None:
        with self._lock:
            if self.rounds is not None and self._begun >= self.rounds:
                return None
            if self.until is not None and time.monotonic() > self.until:
                return None
            self._begun += 1
            return plan(self.seed, self.first + self._begun - 1)

    def _play_world(self, number: int) -> None:
        is_held = number % 2 == 0
        with (
            tempfile.TemporaryDirectory(prefix="mailbell-kills-") as directory,
            self.make(Path(directory), is_held=is_held) as world,
        ):
            self._note_lost("before the first round", is_held, world.begin())
            while (found := self._next()) is not None:
                self._note(found, is_held, world.play(found))
            with self._lock:
                self._kills.update(world.kills)
                odd = world.odd_ends
                self._count["odd"] += len(odd)
                self._failures += [f"seed {self.seed}: {each}" for each in odd]

    def _note(self, played: Round, is_held: bool, came: Played) -> None:
        self._note_lost(_words(played), is_held, came.lost)
        with self._lock:
            self._count["rounds"] += 1
            self._count["notifications"] += came.notifications
            self._count["accounts"] += came.accounts
            self._subsets[played.killed] += 1
            self._kills[Program.HOOK] += came.hooks
            self._count["late hooks"] += came.late_hooks
            self._longest = max(self._longest, came.seconds)
            if self._count["rounds"] % _OFTEN == 0:
                of = "" if self.rounds is None else f" of {self.rounds}"
                self.say(
                    f"kills: round {self._count['rounds']}{of},"
                    f" {self._count['accounts']} accounts owed, {self._count['lost']} lost"
                )

    def _note_lost(self, when: str, is_held: bool, lost: tuple[Debt, ...]) -> None:
        sockets = "held" if is_held else "its own"
        with self._lock:
            self._count["lost"] += len({debt.account for debt in lost})
            self._failures += [
                f"seed {self.seed}, {when}, the listener's sockets {sockets}: the {debt.by}"
                f" has not looked at {debt.account} since {debt.why}"
                for debt in lost
            ]


def _words(played: Round) -> str:
    kills = [f"{kill.program} at {kill.at:.3f} s" for kill in played.kills]
    hooks = [f"a hook of {kill.at:.3f} s at {kill.share:.3f}" for kill in played.hooks]
    return f"round {played.number} (killed: {', '.join(kills + hooks)})"
