"""The kernel's figures for a process include its children."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from bench.kernel import Cpu, Resident
from bench.processes import BUILD, build

# CPU time is measured, not elapsed time, so a busy machine makes no difference.
BURN = "import time\nwhile time.process_time() < 0.1: pass"
BURNT = 90_000_000  # nanoseconds; the kernel tells a child's in ticks of 10 ms


@contextmanager
def process(*command: str) -> Iterator["subprocess.Popen[str]"]:
    """Run a program that ends with its input, until the end of the block."""
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as found:
        yield found


def line_of(found: "subprocess.Popen[str]") -> str:
    assert found.stdout is not None
    return found.stdout.readline().strip()


def test_a_child_that_was_waited_for_counts() -> None:
    script = '"$0" -c "$1"; echo done; read nothing'
    with process("sh", "-c", script, sys.executable, BURN) as shell:
        assert line_of(shell) == "done"
        assert Cpu.of(shell.pid).total > BURNT


def test_a_child_that_runs_is_waited_for_and_counts() -> None:
    script = '"$0" -c "$1" & echo started; wait; read nothing'
    with process("sh", "-c", script, sys.executable, BURN) as shell:
        assert line_of(shell) == "started"
        assert Cpu.settled(shell.pid).total > BURNT


def test_an_orphan_counts() -> None:
    build()
    script = '("$0" -c "$1" &); echo started; read nothing'
    with process(str(BUILD / "adopt"), "sh", "-c", script, sys.executable, BURN) as foster:
        first, second = sorted((line_of(foster), line_of(foster)))
        assert second == "started"
        assert Cpu.settled(foster.pid, int(first)).total > BURNT


def test_what_happened_before_does_not_count() -> None:
    with process("sh", "-c", "echo started; read nothing") as shell:
        assert line_of(shell) == "started"
        before = Cpu.settled(shell.pid)
        assert (Cpu.settled(shell.pid) - before).total < before.total


def test_memory_is_at_most_what_it_was_at_its_peak() -> None:
    with process("sh", "-c", "echo started; read nothing") as shell:
        assert line_of(shell) == "started"
        found = Resident.of(shell.pid)
    assert 0 < found.now <= found.peak
