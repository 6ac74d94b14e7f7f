"""What a node says of itself to all others with each sign of life. Pure."""

import re
from typing import Final, NamedTuple, Self

__all__ = ["HOST", "NAME", "NAME_FORM", "Report", "is_name"]

NAME: Final = r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,62}[A-Za-z0-9])?"
"""The name of a node, as a regular expression."""
NAME_FORM: Final = "1 to 64 letters, digits, dots, hyphens or underscores"

_NAME: Final = re.compile(NAME, re.ASCII)
_REPORT: Final = re.compile(
    r"([0-9a-f]{16}) ([0-9]{1,15}) ([0-9]{1,15}) ([0-9]{1,9}(?:\.[0-9]{1,6})?)", re.ASCII
)


HOST: Final = 8
"""Characters of a run's number that name the host, on which one run of a node can live."""


class Report(NamedTuple):
    """One node.

    Attributes:
        run: a number of this run of the node, 16 hexadecimal digits; no other run has it.
        returns: how often the engine was away and then learnt again what this node knows.
        taken: rings that it has taken from its inbox.
        lag: seconds that its latest entry had waited.
    """

    run: str
    returns: int = 0
    taken: int = 0
    lag: float = 0.0

    @classmethod
    def parse(cls, text: object) -> Self | None:
        """Read a report.

        Args:
            text: what the engine has.

        Returns:
            The report. None: no node of this version wrote the text.
        """
        found = _REPORT.fullmatch(text) if isinstance(text, str) else None
        if found is None:
            return None
        run, returns, taken, lag = found.groups()
        return cls(run, int(returns), int(taken), float(lag))

    def is_of_host(self, run: str) -> bool:
        """Tell whether another run is of the same host, so that only one of both can live.

        Args:
            run: the number of the other one.
        """
        return self.run[:HOST] == run[:HOST]

    def __str__(self) -> str:
        return f"{self.run} {self.returns} {self.taken} {min(self.lag, 1e9 - 1):.3f}"


def is_name(text: str) -> bool:
    """Tell whether a text may be the name of a node.

    Args:
        text: any text.
    """
    return _NAME.fullmatch(text) is not None
