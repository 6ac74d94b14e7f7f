"""What a daemon stands in while its calls fail: who speaks to it, and who knows what it owes."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from mailbell.sandbox.policy_file import read_policy
from torture.faults.errors import ALL_MEMORY, ERRORS, calls_of
from torture.faults.life import Door, Life, begin, wait_for
from torture.faults.unotify import Fault

__all__ = ["LEAN", "House", "granted"]

LEAN: Final = {
    "PYTHONMALLOC": "malloc",
    "MALLOC_MMAP_THRESHOLD_": "4000",
    "MALLOC_TOP_PAD_": "0",
    "MALLOC_TRIM_THRESHOLD_": "0",
}
"""Has the C library (mallopt(3)) ask the kernel for each piece of memory when it is needed, and
give it back at once. Otherwise a daemon that serves has no need of more memory for hours."""


def granted(program: str) -> frozenset[str]:
    """Return the calls that a policy permits.

    Args:
        program: the name of the policy.
    """
    return frozenset(read_policy(program).permitted)


class House(ABC):
    """A daemon with all that it needs, and witnesses of what it does.

    Args:
        folder: for the files of the daemon; no other house uses it.

    Attributes:
        program: whose calls fail, by the name of its policy.
        is_lean: whether the C library keeps no memory of the daemon in its next life.
    """

    program: str
    needs: tuple[str, ...] = ()
    """Commands without which it cannot stand."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.is_lean = False
        self._life: Life | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        if self._life is not None:
            self._life.stop()
        self.close()

    @property
    def life(self) -> Life:
        """The present life of the daemon."""
        if self._life is None:
            raise RuntimeError(f"{self.program} was not started")
        return self._life

    @property
    def is_companion(self) -> bool:
        """Whether the calls of a companion fail, and not those of the daemon that starts it."""
        return self.door().program != self.program

    @property
    def faults(self) -> tuple[str, ...]:
        """The names in the table of errors that this daemon may ask for once it is locked."""
        own = sorted(granted(self.program) & set(ERRORS))
        return (*own, ALL_MEMORY)

    @property
    def pid(self) -> int:
        """The process whose calls fail."""
        return self.life.pid

    def has_ended(self) -> bool:
        """Tell whether the daemon has ended."""
        return self.life.has_ended()

    def goes_on_without(self) -> str:
        """Return the log line by which a daemon says that it goes on without this companion."""
        return ""

    def until(self, done: Callable[[], object]) -> bool:
        """Wait until a condition holds; tell whether it does. The end of the daemon ends it too.

        Args:
            done: tells whether it holds.
        """
        return wait_for(lambda: self.has_ended() or done()) and not self.has_ended()

    def asked(self) -> frozenset[str]:
        """Return the calls that the supervisor is asked about while the daemon serves."""
        return frozenset(call for name in self.faults for call in calls_of(name))

    def begin(
        self,
        calls: Collection[str] | None = None,
        *,
        fault: Fault | None = None,
        is_watched: bool = False,
    ) -> Life:
        """Start the daemon, after its last life.

        Args:
            calls: that the supervisor is asked about; None: those of a daemon that serves.
            fault: the calls that fail from the first one on; None: none.
            is_watched: as for `torture.faults.life.begin`.
        """
        if self._life is not None:
            self._life.stop()
            self._life = None
        asked = self.asked() if calls is None else calls
        environ = LEAN if self.is_lean else {}
        self._life = begin(self.door(), asked, environ, fault=fault, is_watched=is_watched)
        return self._life

    @abstractmethod
    def door(self) -> Door:
        """Return how the daemon is started."""

    @abstractmethod
    def close(self) -> None:
        """End what stands around the daemon."""

    @abstractmethod
    def owe(self) -> str:
        """Have the daemon accept a notification, of which a subscriber that is away must learn.

        Returns:
            Why it did not accept it; empty: it did.
        """

    @abstractmethod
    def exercise(self, number: int) -> None:
        """Have the daemon do once what it ever does. It may fail in anything.

        Args:
            number: counts the rounds; some things are not done in each.
        """

    @abstractmethod
    def grow(self) -> None:
        """Have the daemon take more memory, and give it back."""

    @abstractmethod
    def lacks(self) -> str:
        """Tell what does not work that must, after patience; empty: all works."""

    @abstractmethod
    def lost(self) -> str:
        """Have the subscriber come back; tell what it does not learn; empty: it learns all."""
