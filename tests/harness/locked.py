"""Run a function in a process that the daemon's own code has locked in.

The real daemon runs from its first step to its end, but instead of serving it calls the
function. So all its steps happen here too, in its own order. This works for root and for
an ordinary user.
"""

import faulthandler
import gc
import os
import signal
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final

from harness.child import Ended, run
from harness.daemon import configuration

from mailbell.listener import daemon
from mailbell.listener.configuration import parse
from mailbell.syscalls.policy import Numbers, Policy

__all__ = ["locked"]

SEVERAL: Final = "SHARED"  # the placeholder that stands for several numbers

# As in sd_notify(3), sd_watchdog_enabled(3), sd_listen_fds(3): meant for whoever runs us.
FROM_A_SERVICE_MANAGER: Final = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "LISTEN_FDS", "JOURNAL_STREAM")


def locked(
    function: Callable[[Mapping[str, Any]], object], *, before: Callable[[], object] | None = None
) -> Ended:
    """Run a function in a child that is locked in as the daemon is.

    Args:
        function: called with what the policy's placeholders mean in that process;
            what it returns must be picklable.
        before: called in the child before anything of the daemon's.
    """
    with tempfile.TemporaryDirectory(prefix="mailbell-") as directory:
        return run(partial(_locked, Path(directory), function, before))


def _locked(
    directory: Path,
    function: Callable[[Mapping[str, Any]], object],
    before: Callable[[], object] | None,
) -> object:
    returned: list[object] = []

    async def instead(self: daemon.Daemon, told: AsyncIterator[signal.Signals]) -> None:
        returned.append(function(_placeholders(self._locked.policy)))

    _forget_the_tests()
    if before:
        before()
    daemon.Daemon.serve = instead  # type: ignore[method-assign]  # it is this child's only
    daemon.run(parse(configuration(directory, tcp=["127.0.0.1:0"]).encode()))
    return returned[0]


def _forget_the_tests() -> None:
    """Remove what a daemon would not have inherited."""
    # It writes to its own descriptor, which the policy does not permit.
    faulthandler.disable()
    # The daemon closes all descriptors that it inherits. An object that is collected
    # later would close its own again, which may be one of the daemon's by then.
    gc.freeze()
    for name in FROM_A_SERVICE_MANAGER:
        os.environ.pop(name, None)


def _placeholders(policy: Policy) -> dict[str, Numbers]:
    found: dict[str, set[int]] = {}
    for entry in policy.entries:
        for value in (value for c in entry.conditions for value in c.values):
            if value.text in policy.placeholders and value.number is not None:
                found.setdefault(value.text, set()).add(value.number)
    single = {name: min(numbers) for name, numbers in found.items() if name != SEVERAL}
    return {**single, "SELF": os.getpid(), SEVERAL: tuple(sorted(found.get(SEVERAL, ())))}
