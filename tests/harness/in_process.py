"""A daemon in the process of the tests, where nothing is locked."""

import signal
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable

import trio
from trio.testing import wait_all_tasks_blocked

from mailbell._sys.landlock import Landlock
from mailbell._sys.proof import ProcessStatus
from mailbell.sandbox.lock import Confinement, Locked, Unprivileged

__all__ = ["locked", "served"]

STATUS = ProcessStatus((1,) * 4, (2,) * 4, (), 0, 0, 0, 0, 0, True, 2, 1, 0)
LANDLOCK = Landlock(9, 6, 1, 2, 3, 4, ("chdir",))


def locked(confinement: Confinement) -> Locked:
    """Return a proof that nobody has made."""
    unprivileged = Unprivileged(confinement, LANDLOCK, writable_executable_denied=True)
    return Locked(unprivileged, confinement.policy, STATUS)


async def served(
    serve: Callable[[AsyncIterator[signal.Signals]], Awaitable[None]],
    visit: Callable[[], Awaitable[None]],
    patience: float = 10.0,
) -> None:
    """Serve for as long as a visit takes.

    Args:
        serve: is given the signals.
        visit: what is done while all of the daemon waits.
        patience: seconds by the clock of the tests until the test fails.
    """

    async def until_visited() -> AsyncGenerator[signal.Signals, None]:
        await wait_all_tasks_blocked()
        await visit()
        yield signal.SIGTERM

    signals = until_visited()
    with trio.fail_after(patience):
        await serve(signals)
    await signals.aclose()
