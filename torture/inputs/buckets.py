"""Token buckets when nobody knows exactly when a token was taken, only between which times.

Such a bucket says of each request: it was surely admitted, surely refused, or either. It is written
from the description of a token bucket: so many at once, and so many a second.
"""

from dataclasses import dataclass
from typing import Final

__all__ = ["Bucket", "admitted"]

# A daemon admits the last request of a burst although its sums are rounded: it takes a token for
# whole if a thousandth of it is missing.
_SURELY_A_TOKEN: Final = 1 - 1 / 2048
_SURELY_NONE: Final = 1 - 1 / 512


@dataclass(slots=True)
class Bucket:
    """The tokens of one source, between two bounds, which both grow with the rate.

    Requests are told of in the order in which the daemon meets them.

    Attributes:
        rate: tokens a second.
        burst: the most tokens; a source may owe as many.
        fewest: tokens that are there at least, at `latest`.
        floor: tokens that are there at least since the last request, whenever that was.
        most: tokens that are there at most, at `earliest`.
        earliest: the earliest time of the last request, in seconds.
        latest: the latest time of it.
    """

    rate: float
    burst: float
    fewest: float = 0.0
    floor: float = 0.0
    most: float = 0.0
    earliest: float = -1e18
    latest: float = -1e18

    def fewest_at(self, time: float) -> float:
        """Return how many tokens there are at least.

        Args:
            time: in seconds.
        """
        line = min(self.burst, self.fewest + (time - self.latest) * self.rate)
        # Before `latest` it is not known how many came back, but none was lost.
        return line if time >= self.latest else max(line, self.floor)

    def most_at(self, time: float) -> float:
        """Return how many tokens there are at most.

        Args:
            time: in seconds.
        """
        return min(self.burst, self.most + (time - self.earliest) * self.rate)

    def take(self, since: float, until: float, cost: float, *, surely: bool = True) -> None:
        """Take tokens.

        Args:
            since: the earliest time.
            until: the latest time.
            cost: how many.
            surely: whether they were taken at all.
        """
        self.floor, self.fewest = (
            max(self.fewest_at(time) - cost, -self.burst) for time in (since, until)
        )
        self.most = max(self.most_at(since) - (cost if surely else 0), -self.burst)
        self.earliest, self.latest = since, until


def admitted(buckets: list[Bucket], since: float, until: float) -> bool | None:
    """Ask for one token of each bucket. None of them pays if another one has none.

    Args:
        buckets: those that a source pays from.
        since: the earliest time of the request, in seconds.
        until: the latest time.

    Returns:
        Whether it was admitted; None: either.
    """
    if any(bucket.most_at(until) < _SURELY_NONE for bucket in buckets):
        return False
    surely = all(bucket.fewest_at(since) >= _SURELY_A_TOKEN for bucket in buckets)
    for bucket in buckets:
        bucket.take(since, until, 1.0, surely=surely)
    return True if surely else None
