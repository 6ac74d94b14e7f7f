"""What the status of the daemons says of a scene, in words. Pure."""

from collections import Counter
from collections.abc import Mapping
from typing import Any, Final

__all__ = ["accepted", "counted", "refusals", "refused"]

_ACCEPTED: Final = "accepted"
_WORDS: Final = {
    "rate_limited": "too many of one source",
    "unknown_account": "from nobody's mail server",
    "too_many_from_source": "too many connections of one source",
    "too_many_connections": "too many connections",
    "reset": "reset by the caller",
    "deadline": "too slow",
    "empty": "without a word",
}


def counted(status: Mapping[str, Any]) -> Counter[str]:
    """Return how often each outcome came, by TCP and UDP together.

    Args:
        status: what `mailbell status --json` prints.
    """
    counts: Counter[str] = Counter()
    for transport in status["outcomes"].values():
        counts.update(transport)
    return counts


def accepted(before: Mapping[str, int], after: Mapping[str, int]) -> int:
    """Return how many notifications were accepted between two counts."""
    return after.get(_ACCEPTED, 0) - before.get(_ACCEPTED, 0)


def refusals(before: Mapping[str, int], after: Mapping[str, int]) -> dict[str, int]:
    """Return how many were refused between two counts, by outcome, the most frequent first."""
    more = {name: after[name] - before.get(name, 0) for name in after if name != _ACCEPTED}
    return {name: n for name, n in sorted(more.items(), key=lambda each: -each[1]) if n > 0}


def refused(before: Mapping[str, int], after: Mapping[str, int]) -> list[str]:
    """Return a line for each reason of refusals between two counts."""
    found = refusals(before, after)
    return [f"{number:,} refused: {_WORDS.get(name, name)}" for name, number in found.items()]
