"""Which test runs which function of a file, also in the children that a test forks."""

import mmap
import struct
import sys
import threading
from collections.abc import Collection
from types import FrameType
from typing import Any, Final

from torture.mutants.attempt import Time
from torture.mutants.swap import scope_of

__all__ = ["Reach", "early"]

TIME: Final = struct.Struct("dd")


def early(file: str) -> set[str]:
    """From now on note which functions of a file run, until the profile is set anew.

    Args:
        file: where Python finds the file.

    Returns:
        the functions and methods; it grows.
    """
    found: set[str] = set()

    def called(frame: FrameType, event: str, _: Any) -> None:
        if event == "call" and frame.f_code.co_filename == file:
            found.add(scope_of(frame.f_code))

    sys.setprofile(called)
    return found


class Reach:
    """Two tables in memory that all forks share: a locked child may still write to them.

    Args:
        file: where Python found the file.
        scopes: the functions and methods of the file.
        tests: how many tests there are.
    """

    def __init__(self, file: str, scopes: Collection[str], tests: int) -> None:
        self._file = file
        self._column = {scope: number for number, scope in enumerate(scopes)}
        self._marks = mmap.mmap(-1, max(1, tests * len(self._column)))
        self._times = mmap.mmap(-1, max(1, tests * TIME.size))
        self._row = 0

    def watch(self, test: int) -> None:
        """From now on note what a test runs, in this process and in its forks.

        Args:
            test: its number.
        """
        self._row = test * len(self._column)
        threading.setprofile(self._called)
        sys.setprofile(self._called)

    def passed(self, test: int, time: Time) -> None:
        """Note that a test has passed, and watch no more.

        Args:
            test: its number.
            time: how long it took.
        """
        sys.setprofile(None)
        threading.setprofile(None)
        place = test * TIME.size
        TIME.pack_into(self._times, place, max(time.seconds, 0.001), time.processor)

    def time(self, test: int) -> Time | None:
        """Return how long a test took; None: it has not passed.

        Args:
            test: its number.
        """
        seconds, processor = TIME.unpack_from(self._times, test * TIME.size)
        return Time(seconds, processor) if seconds else None

    def scopes(self, test: int) -> list[str]:
        """Return the functions and methods that a test runs.

        Args:
            test: its number.
        """
        start = test * len(self._column)
        return [scope for scope, column in self._column.items() if self._marks[start + column]]

    def _called(self, frame: FrameType, event: str, _: Any) -> None:
        if event == "call" and frame.f_code.co_filename == self._file:
            column = self._column.get(scope_of(frame.f_code))
            if column is not None:
                self._marks[self._row + column] = 1
