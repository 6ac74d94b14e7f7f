"""Five real programs that run together: some of them are killed, and all must be looked at."""

import random
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final, Self

from torture.kills.kept import Kept
from torture.kills.ledger import Debt, Diary, Ledger
from torture.kills.plan import ACCOUNTS, WINDOW, Program, Round, Way
from torture.kills.programs import LOOK, Place, starters
from torture.kills.ringing import Mail
from torture.kills.traced_hook import Life

__all__ = ["Played", "World"]

# Seconds until a look is given up. The slowest way has the back-off of the sender in it, and the
# ten seconds after which a subscriber tries again. A busy machine takes several times as long.
_PATIENCE: Final = 120.0
# RestartSec= of the units is 5 to 15 s. Here it is so short that a start meets other kills.
_PAUSE: Final = 0.1
_LOAD: Final = 0.01  # seconds between two notifications for nobody
# An agent that was killed leaves its commands to their keeper, and the next one ends with this
# code until these have ended (docs/agent.md).
_BUSY_AGENT: Final = 75


@dataclass(frozen=True, slots=True)
class Played:
    """What came of a round.

    Attributes:
        accounts: how many were owed a look.
        notifications: how often.
        lost: what nobody looked at.
        seconds: from the last kill or notification until all was looked at.
        hooks: how many hooks were killed.
        late_hooks: how many of them had written their line.
    """

    accounts: int
    notifications: int
    lost: tuple[Debt, ...]
    seconds: float
    hooks: int
    late_hooks: int


class World:
    """The programs, from their start to their end: a context manager.

    Args:
        directory: for their files.
        is_held: whether the listener's sockets are held while it is away.
        look: what the agent runs to look; its further words are a file and an account.
        through: a program that runs another one.
    """

    def __init__(
        self,
        directory: Path,
        *,
        is_held: bool,
        look: Sequence[str] = LOOK,
        through: Mapping[Program, Sequence[str]] | None = None,
    ) -> None:
        self._place = Place(directory, is_held)
        self._look = look
        self._through = through or {}
        self._stack = ExitStack()
        self._kept: dict[Program, Kept] = {}

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self._begin(stack)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _begin(self, stack: ExitStack) -> None:
        place = self._place
        place.prepare(stack, self._look)
        diaries = {
            program: Diary(place.diary(program)) for program in (Program.AGENT, Program.SUBSCRIBER)
        }
        for diary in diaries.values():
            stack.callback(diary.close)
        self._ledger = Ledger({str(program): diary for program, diary in diaries.items()})
        self._mail = Mail(place, self._ledger)
        # A wait of a service manager that nobody needs to repeat.
        pause = random.Random(place.port)  # noqa: S311  no secret
        for program, start in starters(place, self._through).items():
            kept = Kept(start, lambda: pause.uniform(0, _PAUSE))
            stack.callback(kept.close)
            self._kept[program] = kept
        self._threads = stack.enter_context(ThreadPoolExecutor(2 * len(Program)))

    @property
    def kills(self) -> Counter[Program]:
        """How often each program that runs all the time was killed."""
        return Counter({program: kept.ends[-9] for program, kept in self._kept.items()})

    @property
    def odd_ends(self) -> list[str]:
        """Return each end of a program that was neither asked for nor documented."""
        return [
            f"{program} ended with {status}, {count} times"
            for program, kept in self._kept.items()
            for status, count in kept.ends.items()
            if status != -9 and (program, status) != (Program.AGENT, _BUSY_AGENT)
        ]

    def begin(self) -> tuple[Debt, ...]:
        """Wait until all programs work; return what does not: they look once when they start."""
        for account in ACCOUNTS:
            self._ledger.owe(account, 1, "the first start")
        lost = self._ledger.wait(_PATIENCE)
        if not lost:
            for account in ACCOUNTS:
                self._mail.come(Way.LINE, account)
            lost = self._ledger.wait(_PATIENCE)
        self._ledger.forget()
        return tuple(lost)

    def play(self, plan: Round, patience: float = _PATIENCE) -> Played:
        """Play one round.

        Args:
            plan: what happens in it.
            patience: seconds until a look is given up.
        """
        began = time.monotonic()
        before = self._ledger.notifications
        parts: list[Callable[[], None]] = [
            *(partial(self._kill, plan, program, began) for program in self._kept),
            *(partial(self._ring, plan, way, began) for way in Way),
            partial(self._load, began),
        ]
        done = [self._threads.submit(part) for part in parts]
        killed = [life for life in self._kill_hooks(plan, began) if life.killed]
        for each in done:
            each.result()
        last = time.monotonic()
        lost = self._ledger.wait(patience)
        played = Played(
            accounts=self._ledger.accounts,
            notifications=self._ledger.notifications - before,
            lost=tuple(lost),
            seconds=time.monotonic() - last,
            hooks=len(killed),
            late_hooks=sum(life.sent for life in killed),
        )
        self._ledger.forget()
        return played

    def _kill(self, plan: Round, program: Program, began: float) -> None:
        for kill in plan.kills:
            if kill.program is program:
                _wait(began + kill.at)
                self._kept[program].kill()

    def _kill_hooks(self, plan: Round, began: float) -> list[Life]:
        # In this thread: a tracer is a thread, and only it may ask about what it traces.
        lives = []
        for kill in plan.hooks:
            _wait(began + kill.at)
            lives.append(self._mail.come_and_be_killed(kill))
        return lives

    def _ring(self, plan: Round, way: Way, began: float) -> None:
        for ring in plan.rings:
            if ring.way is way:
                _wait(began + ring.at)
                self._mail.come(way, ring.account)

    def _load(self, began: float) -> None:
        while time.monotonic() < began + WINDOW:
            self._mail.load()
            time.sleep(_LOAD)  # the rate of the load


def _wait(moment: float) -> None:
    """Wait for a moment that the plan names: it is no sign of anything else."""
    time.sleep(max(0.0, moment - time.monotonic()))
