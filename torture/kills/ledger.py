"""Who must be looked at, and who was: for each account the last time of each.

All times are nanoseconds of CLOCK_REALTIME: of all clocks, date(1) reads this one.

An account is owed a look that begins after its mail was there. A program delivers the mail before
it rings, so that time is taken before it rings. An older look does not count, however near.
"""

import threading
import time
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Debt", "Diary", "Ledger"]


@dataclass(frozen=True, slots=True)
class Debt:
    """What an account is owed.

    Attributes:
        account: its name.
        since: when its mail was there.
        why: how the mail was told of.
        by: who has not looked since: the agent or the subscriber.
    """

    account: str
    since: int
    why: str
    by: str


class Diary:
    """A file in which a program notes accounts and when it looked: a line each.

    Args:
        path: of the file. Each line is written by one call, at the end of the file.
    """

    def __init__(self, path: Path) -> None:
        path.touch()
        self._file = path.open("rb")
        self._rest = b""
        self.lines = 0
        self.last: dict[str, int] = {}

    def read(self) -> None:
        """Take what was written since the last time."""
        *whole, self._rest = (self._rest + self._file.read()).split(b"\n")
        for line in whole:
            account, when = line.decode().split()
            self.last[account] = max(self.last.get(account, 0), int(when))
        self.lines += len(whole)

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class Ledger:
    """Compares what is owed with what was done.

    Args:
        diaries: of those who must look, by their names.
    """

    def __init__(self, diaries: dict[str, Diary]) -> None:
        self._diaries = diaries
        self._owed: dict[str, tuple[int, str]] = {}
        self._lock = threading.Lock()
        self.notifications = 0

    def owe(self, account: str, since: int, why: str) -> None:
        """Note that an account must be looked at. Any thread may call it.

        Args:
            account: its name.
            since: when its mail was there.
            why: how the mail was told of.
        """
        with self._lock:
            self.notifications += 1
            if since >= self._owed.get(account, (0, ""))[0]:
                self._owed[account] = since, why

    @property
    def accounts(self) -> int:
        """How many accounts are owed a look, settled or not, since the last `forget`."""
        return len(self._owed)

    def unsettled(self) -> list[Debt]:
        """Return each account that nobody has looked at since its mail was there."""
        for diary in self._diaries.values():
            diary.read()
        with self._lock:
            return [
                Debt(account, since, why, by)
                for account, (since, why) in self._owed.items()
                for by, diary in self._diaries.items()
                if diary.last.get(account, 0) < since
            ]

    def wait(self, patience: float) -> list[Debt]:
        """Wait until all is settled.

        Args:
            patience: seconds.

        Returns:
            What is not settled then.
        """
        end = time.monotonic() + patience
        while (left := self.unsettled()) and time.monotonic() < end:
            # Other programs write the files. A watch on them would cost more than this look.
            time.sleep(0.02)  # other processes look; nobody tells when
        return left

    def forget(self) -> None:
        """Begin anew."""
        with self._lock:
            self._owed.clear()
