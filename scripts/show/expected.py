"""What a scene must show, and what of it has not happened. Pure."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from scripts.show.events import Happening, What

__all__ = ["Expected", "missing", "unwanted"]


@dataclass(frozen=True)
class Expected:
    """A step of a scene.

    Attributes:
        what: the kind of what must happen.
        words: what a person is told if it does not.
        about: what it must be about; "": anything.
        count: how often it must happen at least; 0: it must not happen.
    """

    what: What
    words: str
    about: str = ""
    count: int = 1

    def fits(self, happening: Happening) -> bool:
        """Tell whether something that happened is this step."""
        return happening.what is self.what and self.about in ("", happening.about)


def missing(steps: Sequence[Expected], happenings: Iterable[Happening]) -> list[str]:
    """Return the words of the steps that have not happened, or not often enough."""
    counted = _counted(steps, happenings)
    return [each.words for each in steps if counted[each] < each.count]


def unwanted(steps: Sequence[Expected], happenings: Iterable[Happening]) -> list[str]:
    """Return the words of the steps that must not happen, and have."""
    counted = _counted(steps, happenings)
    return [each.words for each in steps if each.count == 0 and counted[each]]


def _counted(steps: Sequence[Expected], happenings: Iterable[Happening]) -> Counter[Expected]:
    heard = list(happenings)
    return Counter({each: sum(map(each.fits, heard)) for each in steps})
