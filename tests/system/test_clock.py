"""Somebody sets the wall clock of the machine while the daemon runs."""

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

# The daemon with a wall clock that is off by what we write into a file that it shares. It
# looks at the file without a system call.
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
    """A daemon, and a function that sets its wall clock to so many seconds from ours."""
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
    passed = (time.time() - begun + 60) * SECOND  # the daemon began before us
    account = after.accounts[0]
    assert account.time is not None
    assert account.age is not None
    assert (begun - 60) * SECOND <= after.started <= account.time <= time.time() * SECOND
    assert after.uptime is not None
    assert before.uptime is not None
    assert 0 <= account.age <= after.uptime <= passed
    assert before.uptime <= after.uptime
    # A collector would take another start for a restart.
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
