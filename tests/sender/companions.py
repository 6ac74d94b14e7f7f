"""How the tests start companions: real processes, locked in."""

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from harness.daemon import until

from mailbell.sender import _companion
from mailbell.sender._companion import Companion

__all__ = ["is_gone", "started"]


@contextmanager
def started(start: Callable[[], Companion]) -> Iterator[Companion]:
    """Start a companion, and see that it ends when its pair is closed.

    Call it before Trio's loop runs, as the sender does.
    """
    original = _companion._be_companion

    def be(*args: Any) -> None:
        # Coverage looks for the file of each new piece of code, which a locked child may not.
        sys.settrace(None)
        original(*args)

    _companion._be_companion = be  # type: ignore[assignment]
    try:
        companion = start()
    finally:
        _companion._be_companion = original
    try:
        yield companion
    finally:
        companion.pair.close()
        try:
            until(lambda: is_gone(companion.pid))
        finally:
            if not is_gone(companion.pid):
                os.kill(companion.pid, signal.SIGKILL)


def is_gone(pid: int) -> bool:
    """Tell whether a child has ended; take its status if it has."""
    try:
        return os.waitpid(pid, os.WNOHANG)[0] == pid
    except ChildProcessError:
        return True
