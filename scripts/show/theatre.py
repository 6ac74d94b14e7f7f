"""Shows a scene: lets something happen, shows all that follows, and sees that it is what must."""

import threading
import time
from collections.abc import Callable, Sequence
from typing import Final

from scripts.show.columns import Entry, Note, Row, Title
from scripts.show.ears import Ears
from scripts.show.events import Happening, What
from scripts.show.expected import Expected, missing, unwanted
from scripts.show.machines import Machines
from scripts.show.screen import Screen

__all__ = ["Act", "NotHappenedError", "Theatre"]

Act = Callable[[Callable[[], None]], None]
"""What a scene does."""

_PATIENCE: Final = 20.0  # seconds that a scene may take
_LINGERS: Final = 1.5  # seconds in which more may happen after all that must; and one can read
_STARTING: Final = 60.0  # seconds that all programs have to be ready


class NotHappenedError(Exception):
    """Something that must happen has not, or something has that must not; with the words for it."""


class Theatre:
    """The screen, and what is heard.

    Args:
        screen: shows it.
        ears: hears it.
    """

    def __init__(self, screen: Screen, ears: Ears) -> None:
        self.screen = screen
        self.ears = ears
        self._machines: Machines | None = None

    @property
    def machines(self) -> Machines:
        """The mail server, the laptop, and the strangers."""
        assert self._machines is not None, "nothing has started"  # noqa: S101 (a fault of ours)
        return self._machines

    def enter(self, machines: Machines) -> None:
        """Take the machines that scenes are about."""
        self._machines = machines

    def say(self, *rows: Row) -> None:
        """Show rows."""
        for row in rows:
            self.screen.show(row)

    def scene(
        self,
        title: str,
        note: str,
        act: "Act",
        steps: Sequence[Expected],
        *,
        patience: float = _PATIENCE,
        lingers: float = _LINGERS,
    ) -> list[Happening]:
        """Let something happen; show what follows.

        Args:
            title: of the scene.
            note: what is done.
            act: does it. It gets a function that lets the clock of the scene begin; if it does not
                call that, the clock begins with the first thing that happens.
            steps: what must happen then.
            patience: how long that may take, in seconds.
            lingers: how long to go on afterwards, in seconds.

        Returns:
            what has happened.

        Raises:
            NotHappenedError: a step has not happened.
        """
        self.say(Title(title), Note(note))
        done = _Acting(act)
        heard: list[Happening] = []
        self._hear(heard, done, patience, lambda: done.ended and not missing(steps, heard))
        self._hear(heard, done, lingers, lambda: False)
        done.check()
        if wrong := [*missing(steps, heard), *unwanted(steps, heard)]:
            raise NotHappenedError("; ".join(wrong))
        return heard

    def ready(self, programs: int) -> None:
        """Wait until all programs are ready, and show how each of them says so.

        Args:
            programs: how many say it.
        """
        heard: list[Happening] = []
        self._hear(heard, None, _STARTING, lambda: _ready(heard, programs))
        if not _ready(heard, programs):
            raise NotHappenedError("all programs are ready, and the laptop has fetched once")
        # `mailbell run` leaves a second between the starts of two fetches (its --min-gap here).
        self._hear(heard, None, _LINGERS, lambda: False)
        self.say(*(Entry(each.side, None, each.words) for each in heard if each.what is What.UP))

    def _hear(
        self,
        heard: list[Happening],
        act: "_Acting | None",
        seconds: float,
        enough: Callable[[], bool],
    ) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end and not enough():
            for each in self.ears.listen(end - time.monotonic()):
                heard.append(each)
                if act:
                    zero = act.zero if act.zero is not None else heard[0].at
                    self.say(Entry(each.side, each.at - zero, each.words))


def _ready(heard: Sequence[Happening], programs: int) -> bool:
    up = sum(each.what is What.UP for each in heard)
    return up >= programs and any(each.what is What.FETCHED for each in heard)


class _Acting:
    """Does something while its consequences are heard already.

    Args:
        act: what to do.
    """

    def __init__(self, act: Act) -> None:
        self.zero: float | None = None
        self._act = act
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    @property
    def ended(self) -> bool:
        """Whether it is done."""
        return not self._thread.is_alive()

    def check(self) -> None:
        """Raise what went wrong."""
        if self._error:
            raise NotHappenedError(str(self._error)) from self._error
        if not self.ended:
            raise NotHappenedError("the scene's own command has ended")

    def _run(self) -> None:
        try:
            self._act(self._begin)
        except Exception as error:  # of whatever kind: `check` raises it where it is shown
            self._error = error

    def _begin(self) -> None:
        self.zero = time.time()
