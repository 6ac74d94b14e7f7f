"""A state of the daemon. It logs one line for each change of the state, and no other line."""

from mailbell.logs.journal import Journal, Level

__all__ = ["Switch"]


class Switch:
    """Is on at first. It logs when it goes off and when it is on again.

    Args:
        journal: the log.
        what: the name of the state, one word of ours, as in `accepting`.
        where: what has the state, as in `tcp 127.0.0.1:79`.
    """

    def __init__(self, journal: Journal, what: str, where: str) -> None:
        self._journal = journal
        self._what = what
        self._where = where
        self._is_on = True

    def on(self) -> None:
        """Note that it works: log a line if it was off."""
        if not self._is_on:
            self._is_on = True
            self._journal.log(Level.NOTICE, f"{self._what}_resumed", on=self._where)

    def off(self, reason: str) -> None:
        """Note that it does not work: log a line if it was on.

        Args:
            reason: the cause, as in `EMFILE`.
        """
        if self._is_on:
            self._is_on = False
            self._journal.log(Level.WARNING, f"{self._what}_paused", on=self._where, error=reason)
