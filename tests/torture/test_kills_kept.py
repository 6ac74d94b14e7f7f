"""A program that is started again whenever it ends."""

import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from harness.daemon import until

from torture.kills.kept import Kept


@contextmanager
def kept(words: Sequence[str]) -> Iterator[tuple[Kept, Callable[[], int]]]:
    """Yield it, and a function that tells how often it was started."""
    started = threading.Semaphore(0)
    count = [0]

    def start() -> "subprocess.Popen[bytes]":
        count[0] += 1
        started.release()
        return subprocess.Popen(words)

    found = Kept(start, lambda: 0.0)
    try:
        yield found, lambda: count[0]
    finally:
        found.close()


def has_started_again(program: Kept, count: Callable[[], int], kills: int) -> bool:
    return (program.ends[-9], count()) == (kills, kills + 1)


def test_it_is_started_again_after_each_kill() -> None:
    with kept(["sleep", "1000"]) as (program, count):
        for kills in range(1, 4):
            program.kill()
            until(partial(has_started_again, program, count, kills))
    assert dict(program.ends) == {-9: 3}  # its end in order is none of them


def test_it_is_started_again_when_it_ends_by_itself_and_that_is_counted() -> None:
    with kept(["sh", "-c", "exit 3"]) as (program, count):
        until(lambda: program.ends[3] >= 2)
    assert count() >= 3


def test_one_that_ignores_its_end_is_killed(tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    words = ["sh", "-c", f"trap '' TERM; : >'{ready}'; exec sleep 1000"]
    found: list[subprocess.Popen[bytes]] = []

    def start() -> "subprocess.Popen[bytes]":
        found.append(subprocess.Popen(words))
        return found[-1]

    program = Kept(start, lambda: 0.0, patience=0.1)
    until(ready.exists)
    program.close()
    assert found[-1].returncode == -9
