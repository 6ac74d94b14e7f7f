"""Runs code in a process that mailbell-sender's own code has locked in."""

import signal
import tempfile
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path
from typing import Final

from harness.child import Ended, run
from harness.locked import _forget_the_tests
from harness.ringer import settings
from sandbox.rules import Inside, numbers_in

from mailbell.sender import daemon, prepare
from mailbell.sender.configuration import parse

__all__ = ["locked_sender"]

SEVERAL: Final = ("SHARED", "EARLY", "STORE", "CALLED")  # placeholders for several numbers
SPARE: Final = 900  # descriptors, for the sockets that probes make

# Targets by TCP and by UDP, in both of the families, none of which is ever called.
TARGETS: Final = """
[[account]]
name = "stream"
targets = ["192.0.2.1", "[2001:db8::1]:7979"]
[[account]]
name = "datagram"
targets = ["192.0.2.1"]
transport = "udp"
"""


def locked_sender(
    function: Inside, *, more: str = TARGETS, before: Callable[[], object] = int
) -> Ended:
    """Run a function in a process that is locked in as the sender is.

    The sender runs from its first step to its end, but instead of serving it calls the function.

    Args:
        function: what to run.
        more: further tables of its configuration.
        before: called before the process is locked in.
    """
    with tempfile.TemporaryDirectory(prefix="mailbell-") as name:
        directory = Path(name)
        directory.chmod(0o755)  # the address book is opened by another user
        toml = settings(directory, more, listen='comsat = ["127.0.0.1:0"]')
        return run(partial(_sender, function, toml, before))


def _sender(function: Inside, toml: str, before: Callable[[], object]) -> object:
    returned: list[object] = []

    async def instead(self: daemon.Daemon, told: AsyncIterator[signal.Signals]) -> None:
        returned.append(function(numbers_in(self._locked.policy, *SEVERAL)))

    _forget_the_tests()
    before()
    # It is this child's only.
    daemon.Daemon.serve = instead  # type: ignore[method-assign]
    prepare.SPARE_DESCRIPTORS = SPARE  # type: ignore[misc]
    daemon.run(parse(toml.encode()))
    return returned[0]
