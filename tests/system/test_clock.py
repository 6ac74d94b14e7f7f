"""The wall clock of the machine is changed while the daemon runs."""

import mmap
import struct
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import pytest
from harness.daemon import Daemon, configuration, ring, started, until

from mailbell.client import Client

YEAR: Final = 365 * 86_400
SECOND: Final = 1_000_000

# The daemon with a wrong wall clock. The test writes the difference into a file that the
# daemon has mapped, so that it reads it without a system call.
PROGRAM: Final = """
import mmap, struct, sys, time
with open({path!r}, "r+b") as file:
    shared = mmap.mmap(file.fileno(), 8)
real = time.time_ns
time.time_ns = lambda: real() + struct.unpack("q", shared[:8])[0]
from mailbell.cli.mailbelld import main
main()
"""


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[tuple[Daemon, Callable[[int], None]]]:
    """Yield a daemon, and a function that sets how many seconds its wall clock is wrong."""
    path = tmp_path / "clock"
    path.write_bytes(bytes(8))
    path.chmod(0o666)
    with open(path, "r+b") as file, mmap.mmap(file.fileno(), 8) as shared:

        def set_clock(off: int) -> None:
            shared[:8] = struct.pack("q", off * 10**9)

        set_clock(-50 * YEAR)
        program = ["-c", PROGRAM.format(path=str(path))]
        with started(tmp_path, configuration(tmp_path), program=program) as daemon:
            yield daemon, set_clock


def test_a_clock_that_is_set_after_the_start_makes_nothing_old(
    machine: tuple[Daemon, Callable[[int], None]],
) -> None:
    daemon, set_clock = machine
    begun = time.time()
    ring(daemon.endpoint())
    until(lambda: daemon.counted() == {"accepted": 1})
    before = daemon.status()
    assert before.started < time.time() * SECOND - 40 * YEAR * SECOND
    set_clock(0)
    after = daemon.status()
    passed = (time.time() - begun + 60) * SECOND  # the daemon started earlier
    account = after.accounts[0]
    assert account.time is not None
    assert account.age is not None
    assert (begun - 60) * SECOND <= after.started <= account.time <= time.time() * SECOND
    assert after.uptime is not None
    assert before.uptime is not None
    assert 0 <= account.age <= after.uptime <= passed
    assert before.uptime <= after.uptime
    # A collector of metrics would take another start time for a restart.
    assert daemon.status().started == after.started


def test_a_clock_that_is_set_back_makes_nothing_come_from_the_future(
    machine: tuple[Daemon, Callable[[int], None]],
) -> None:
    daemon, set_clock = machine
    set_clock(0)
    with Client(str(daemon.path)) as client, client.subscribe() as subscription:
        set_clock(-50 * YEAR)
        ring(daemon.endpoint())
        told = subscription.next(30)
    assert told.time < (time.time() - 40 * YEAR) * SECOND
    status = daemon.status()
    assert status.uptime is not None
    assert 0 <= status.uptime < 600 * SECOND
    assert status.started <= told.time
