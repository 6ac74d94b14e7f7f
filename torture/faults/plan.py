"""Which faults are made: all of them in an order that costs least, or some drawn by lot."""

import random
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from harness.ordinary import let_in

from torture.faults.companions import ClusterNode, CyrusReader, Resolver
from torture.faults.errors import CONTRADICTIONS, calls_of, codes
from torture.faults.house import House
from torture.faults.listener import Listener
from torture.faults.sender import Sender
from torture.faults.trial import Trial, When

__all__ = ["HOUSES", "draw", "everything", "opened"]

Maker = Callable[..., House]

HOUSES: Final[dict[str, type[House]]] = {
    each.program: each for each in (Listener, Sender, Resolver, CyrusReader, ClusterNode)
}
"""What makes each daemon, by the name of its policy."""

LATEST: Final = 6
"""The latest call that is the first to fail."""


def everything(house: House, lot: random.Random) -> list[Trial]:
    """Return every fault of a daemon that serves.

    Args:
        house: the daemon.
        lot: draws which call is a later one.
    """
    return [
        Trial(name, code, when, lot.randint(2, LATEST) if when is When.LATER else 1)
        for when in When
        for name in house.faults
        for code in codes(name)
        if when is not When.AT_END or code not in CONTRADICTIONS
    ]


def draw(house: House, lot: random.Random) -> Trial:
    """Return one fault of a daemon that serves.

    Args:
        house: the daemon.
        lot: draws it.
    """
    # A call that a daemon does not make costs most of the time, and says nothing.
    made = {call for pid, call in house.life.supervisor.made if pid == house.pid}
    name = lot.choice([name for name in house.faults if calls_of(name) <= made] or house.faults)
    when = lot.choice(list(When))
    first = lot.randint(2, LATEST) if when is When.LATER else 1
    possible = [
        code for code in codes(name) if when is not When.AT_END or code not in CONTRADICTIONS
    ]
    return Trial(name, lot.choice(possible), when, first)


@contextmanager
def opened(make: Maker, *, holds: bool) -> Iterator[House]:
    """Make a daemon's surroundings in a folder that the daemon's user may enter.

    Args:
        make: one of `HOUSES`.
        holds: whether a service manager holds its sockets.
    """
    with tempfile.TemporaryDirectory(prefix="mailbell-faults-") as name:
        folder = Path(name)
        let_in(folder)
        folder.chmod(0o755)
        with make(folder, holds=holds) as house:
            yield house
