"""Bounds the look-ups of hosts, users and groups, for which the C library has no time-out."""

import errno
import threading
from collections.abc import Callable
from typing import TypeVar

__all__ = ["in_time"]

_T = TypeVar("_T")


def in_time(function: Callable[[], _T], seconds: float) -> _T:
    """Call a function that waits without a bound of its own, such as a look-up.

    The C library's look-ups cannot be cancelled. So the function runs in a thread that
    is abandoned when it takes too long. The end of the process does not wait for it.

    Args:
        function: called once, in another thread.
        seconds: how long to wait for it.

    Returns:
        What the function returns.

    Raises:
        TimeoutError: the function took too long; it may still be running.
        OSError: no thread can be started.
        Exception: what the function raises.
    """
    results: list[_T] = []
    errors: list[BaseException] = []

    def work() -> None:
        try:
            results.append(function())
        except BaseException as error:  # raised again below, in the thread that waits
            errors.append(error)

    worker = threading.Thread(target=work, daemon=True)
    try:
        worker.start()
    except RuntimeError as error:  # the user or the control group has reached a limit
        raise OSError(errno.EAGAIN, f"no thread for a look-up: {error}") from error
    worker.join(seconds)
    if errors:
        raise errors[0]
    if not results:
        raise TimeoutError
    return results[0]
