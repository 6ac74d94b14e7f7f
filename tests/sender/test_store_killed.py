"""SIGKILL at random moments: what was noted is there, and the file is always good."""

import os
import random
import signal
import warnings
from pathlib import Path
from typing import Final, NoReturn

import pytest
from sender.support_store import Bench, address

from mailbell.sender import _store
from mailbell.sender._store_file import Verdict, examine

ROUNDS: Final = 25
ACCOUNTS: Final = 200
# Each login of a round: which account, and from which address. A note of every round is told
# as one byte when `note` has returned.
MOST: Final = 250


def account(turn: int, step: int) -> str:
    return f"user{(turn * 37 + step * 7) % ACCOUNTS}"


def write_until_killed(bench: Bench, turn: int, pipe: int) -> NoReturn:
    """Open the store and note logins; say one byte after each. It ends in order after all."""
    try:
        store, book = bench.open()
        os.write(pipe, b"o")
        for step in range(MOST):
            bench.see(store, book, account(turn, step), turn)
            os.write(pipe, b".")
        store.close(["user1"])
        os.write(pipe, b"c")
        signal.pause()
    finally:
        os._exit(1)


def round_of(bench: Bench, turn: int, after: int) -> bytes:
    """Let a process write, kill it after so many bytes; return all that it said."""
    reader, writer = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if not pid:
        write_until_killed(bench, turn, writer)
    os.close(writer)
    told = b""
    while len(told) < after:
        chunk = os.read(reader, after - len(told))
        assert chunk, "the process ended by itself"
        told += chunk
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    with os.fdopen(reader, "rb") as file:
        return told + file.read()


def test_a_writer_killed_at_random_moments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """25 runs in one file. Between two of them all that the killed one noted is found."""
    monkeypatch.setattr(_store, "_CHECKPOINT", 50)  # so that many are killed in a checkpoint
    choose = random.Random(4146)
    bench = Bench(tmp_path / "state" / "state.db", addresses=2, accounts=1000)
    known: dict[str, int] = {}
    ended_in_order = 0
    for turn in range(ROUNDS):
        after = choose.choice([0, 1, choose.randint(1, MOST), choose.randint(1, MOST), MOST + 2])
        told = round_of(bench, turn, after)
        noted = told.count(b".")
        for step in range(noted):
            known[account(turn, step)] = turn
        # The one that was being noted may be there or not.
        unsure = {account(turn, noted)} if noted < MOST else set()
        found = examine(str(bench.path), None)
        assert found.verdict in {Verdict.GOOD, Verdict.ABSENT}, found
        with bench.opened() as (store, book):
            for name in known.keys() - unsure:
                assert book.fresh(name, bench.now)[:1] == (address(known[name]),), (turn, name)
            if told.endswith(b"c"):
                ended_in_order += 1
                assert store.was_clean
                assert store.pending == ("user1",)
            elif told.startswith(b"o") and noted < MOST:
                assert not store.was_clean
            assert not store.status().moved_aside
            for name in unsure:
                for newest in book.fresh(name, bench.now)[:1]:
                    known[name] = newest.value - address(0).value
    assert bench.events == []
    assert ended_in_order > 2
    assert len(known) == ACCOUNTS
