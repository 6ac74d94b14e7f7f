"""A state of the daemon that is worth a log line when it changes, and only then."""

from mailbell.logs.journal import Journal, Level

__all__ = ["Switch"]


class Switch:
    """On to begin with; says when it goes off and when it comes back.

    Args:
        journal: where to say it.
        what: the state, one word of ours, as in `accepting`.
        where: what it is the state of, as in `tcp 127.0.0.1:79`.
    """

    def __init__(self, journal: Journal, what: str, where: str) -> None:
        self._journal = journal
        self._what = what
        self._where = where
        self._is_on = True

    def on(self) -> None:
        """Note that it works."""
        if not self._is_on:
            self._is_on = True
            self._journal.log(Level.NOTICE, f"{self._what}_resumed", on=self._where)

    def off(self, reason: str) -> None:
        """Note that it does not.

        Args:
            reason: why, as in `EMFILE`.
        """
        if self._is_on:
            self._is_on = False
            self._journal.log(Level.WARNING, f"{self._what}_paused", on=self._where, error=reason)
