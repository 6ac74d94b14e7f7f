"""One fault while a daemon starts: the n-th of its calls fails."""

import errno
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from torture.faults.errors import ERRORS, codes
from torture.faults.house import House
from torture.faults.trial import Behaviour, Outcome, Trial, When, judge_end
from torture.faults.unotify import FIRST, OTHERS, Fault

__all__ = ["Start", "attempt_start", "record", "starts"]

# From this answer to its first call CPython concludes that the kernel knows no SOCK_CLOEXEC (it is
# older than 2.6.27), and asks without it from then on. The filter of the sender would kill it then.
_TAKEN_FOR_OLD: Final = frozenset({("socket", errno.EINVAL), ("socketpair", errno.EINVAL)})

_ASKED: Final = frozenset(ERRORS) - {"mmap+brk"}


@dataclass(frozen=True, slots=True)
class Start:
    """A fault to make in a start.

    Attributes:
        name: of the call.
        number: which of these calls fails, from 1.
        code: the error.
        is_loading: whether Python and the modules of the daemon are still being loaded: the
            calls are counted from the first one on; else from the opening of the configuration.
        is_companion: whether the call is one of a companion.
    """

    name: str
    number: int
    code: int
    is_loading: bool = False
    is_companion: bool = False

    def trial(self) -> Trial:
        """Return the same as a trial, for its outcome."""
        return Trial(self.name, self.code, When.LATER, self.number)

    def fault(self) -> Fault:
        """Return the fault."""
        return Fault(
            frozenset({self.name}), self.code, self.number,
            pid=OTHERS if self.is_companion else FIRST, when_read=not self.is_loading,
        )  # fmt: skip


def record(house: House) -> tuple[Counter[str], Counter[str]]:
    """Start a daemon without a fault, and count its calls.

    Args:
        house: the daemon.

    Returns:
        How often it makes each call until it is ready: while it is loaded, and after that.

    Raises:
        RuntimeError: it does not start.
    """
    life = house.begin(_ASKED, is_watched=True)
    if not life.until_ready_or_ended() or life.has_ended():
        raise RuntimeError(f"{house.program} does not start: {life.lines()[-1:]}")
    supervisor = life.supervisor
    order, read_at = list(supervisor.order), supervisor.read_at
    loading = Counter(name for pid, name in order[:read_at] if pid == life.pid)
    own = Counter(name for pid, name in order[read_at:] if (pid != life.pid) is house.is_companion)
    return loading, own


def starts(counts: Counter[str], *, is_loading: bool, is_companion: bool) -> list[Start]:
    """Return every fault of a start: each call once, with one of its errors after the other.

    Args:
        counts: how often each call is made.
        is_loading: whether while the daemon is loaded; else after that.
        is_companion: whether they are calls of a companion.
    """
    found = []
    for name in sorted(counts):
        possible = [code for code in codes(name) if (name, code) not in _TAKEN_FOR_OLD]
        found += [
            Start(name, number, possible[(number - 1) % len(possible)], is_loading, is_companion)
            for number in range(1, counts[name] + 1)
        ]
    return found


def attempt_start(house: House, start: Start) -> Outcome:
    """Start a daemon while one of its calls fails.

    Args:
        house: the daemon. What it lives on are files and sockets of its own.
        start: the fault.
    """
    trial = start.trial()
    life = house.begin(_ASKED, fault=start.fault(), is_watched=True)
    life.until_ready_or_ended()
    injected = life.supervisor.injected
    if life.is_ready() or life.is_untold():
        life.supervisor.set(None)
        found, detail = _judge_ready(house)
    else:
        found, detail = Behaviour.HUNG, "neither ready nor ended"
    if life.has_ended() and life.code:
        return _judged(house, start, injected, life.lines())
    if found is Behaviour.SERVED_ON and not injected:
        found = Behaviour.NOT_MADE
    return Outcome(trial, found, injected, detail, tuple(life.lines()))


def _judge_ready(house: House) -> tuple[Behaviour, str]:
    """Judge a daemon that has become ready in spite of a fault; end it."""
    lacking = house.lacks()
    if without := house.goes_on_without():
        return Behaviour.WITHOUT, without
    if lacking:
        return Behaviour.UNSERVED, lacking
    house.life.stop()
    return Behaviour.SERVED_ON, ""


def _judged(house: House, start: Start, injected: int, said: Sequence[str]) -> Outcome:
    trial = start.trial()
    if start.code == errno.EAGAIN:
        # No file of a start says that nothing is there yet: for CPython it is as a wrong argument.
        trial = replace(trial, code=errno.EINVAL)
    if start.is_companion:
        said = said[-1:]  # modules that it loads may print what they could not do
    found, detail = judge_end(house.door().program, house.life.code, said, trial)
    if start.is_loading and (house.life.code or 0) > 0:
        # The code that would say it in one line is not loaded yet: Python says it.
        found = Behaviour.ENDED
    return Outcome(start.trial(), found, injected, detail, tuple(said))
