"""What counters must say after a round, as far as the inputs decide it."""

from collections import Counter
from collections.abc import Iterable, Mapping

__all__ = ["Expected"]


class Expected:
    """How often each outcome must have been counted: a least and a greatest number.

    Most inputs have one possible outcome. Of a few the timing decides between two.

    Attributes:
        inputs: how many inputs there were, also those that are not counted at all.
        least: how many outcomes there must be in all, at least.
        most: the same, at most.
        unsure: how many of them the timing decides.
    """

    def __init__(self) -> None:
        self.inputs = 0
        self.least = 0
        self.most = 0
        self.unsure = 0
        self._sure: Counter[str] = Counter()
        self._possible: Counter[str] = Counter()

    def add(self, outcomes: Iterable[str]) -> None:
        """Note one input.

        Args:
            outcomes: those that it may have; none: it is never counted. An empty one stands for:
                it may be that it is not counted.
        """
        self.inputs += 1
        distinct = set(outcomes)
        if not distinct:
            return
        self.most += 1
        if len(distinct) == 1:
            self.least += 1
            self._sure.update(distinct)
            return
        self.least += "" not in distinct
        self.unsure += 1
        self._possible.update(distinct - {""})

    def lacks(self, counted: Mapping[str, int]) -> bool:
        """Tell whether something is not counted yet.

        Args:
            counted: by how much each counter has grown.
        """
        few = any(counted.get(name, 0) < least for name, least in self._sure.items())
        return few or sum(counted.values()) < self.least

    def differences(self, counted: Mapping[str, int]) -> list[str]:
        """Compare.

        Args:
            counted: by how much each counter has grown.

        Returns:
            A line for each counter that is wrong.
        """
        wrong = []
        for name in sorted({*counted, *self._sure, *self._possible}):
            least = self._sure[name]
            wrong += _compare(name, counted.get(name, 0), least, least + self._possible[name])
        return wrong or _compare("all", sum(counted.values()), self.least, self.most)


def _compare(name: str, got: int, least: int, most: int) -> list[str]:
    if least <= got <= most:
        return []
    return [f"{name} {got} instead of {least if least == most else f'{least} to {most}'}"]
