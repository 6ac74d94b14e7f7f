"""The store in a locked process: two open files, a handful of calls, and nothing opened later.

Shown twice. A process that is really locked in, with a policy that permits these calls only,
does all that the store does. And strace(1) lists every call of the same run.
"""

import os
import re
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import pytest
from harness.child import Ended, run
from sandbox.attacks.layers import NOBODY, ROOT
from sender.support_store import TTL, Bench, address, kill

from mailbell.sandbox.lock import Confinement, drop_privileges, lock, open_status
from mailbell.sandbox.policy_file import FOLDER
from mailbell.sender import _store
from mailbell.sender._address_book import AddressBook
from mailbell.sender._store import Store
from mailbell.sender._store_file import NEEDED, examine
from mailbell.syscalls.policy import Numbers, Policy
from mailbell.syscalls.policy_toml import parse

AT_EMPTY_PATH: Final = 0x1000
# What the store needs beside what mailbelld may do. docs/sandbox.md describes each call.
GRANTS: Final = f"""
[[allow]]
calls = ["pread64", "pwrite64", "ftruncate", "fstat"]
args.0 = ["STATE"]
reason = "Reads and writes the database and its log."

[[allow]]
calls = ["newfstatat"]
args.0 = ["STATE"]
args.3 = [{AT_EMPTY_PATH:#x}]
else = "EACCES"
reason = "Asks how long they are. The C library makes fstat so."

[[deny]]
calls = ["fcntl"]
answer = "EACCES"
reason = "SQLite would give its lock back at the end."
"""


def policy() -> Policy:
    text = Path(FOLDER, "mailbelld.toml").read_text()
    text = text.replace('program = "mailbelld"', 'program = "keeper"')
    text = text.replace("[placeholders]", '[placeholders]\nSTATE = "the files of the store"')
    text = text.replace('"fstat", "newfstatat",', "")
    return parse((text + GRANTS).encode())


def locked(bench: Bench, then: Callable[[Store, AddressBook], object]) -> Ended:
    """Open a store as the daemon does, lock the process, and go on there."""
    book = AddressBook(TTL, bench.addresses, bench.accounts, secret="of the tests")
    opened: list[Store] = []

    def inside() -> object:
        os.chdir("/")
        near, _far = socket.socketpair()
        near.setblocking(False)
        signal.set_wakeup_fd(near.fileno())
        identity = NOBODY if ROOT else None
        examined = examine(str(bench.path), identity)

        def open_last() -> Mapping[str, Numbers]:
            opened.append(bench.keep(examined, book))
            return {"STATE": opened[0].descriptors}

        confinement = Confinement(
            policy=policy(),
            identity=identity,
            open_files=64,
            status_file=open_status(),
            descriptors={"SHARED": (0, 1, 2)},
            open_last=open_last,
            open_within=examined.folder,
            readable=NEEDED,
        )
        lock(drop_privileges(confinement))
        return then(opened[0], book)

    return run(inside)


@pytest.fixture
def bench() -> Iterator[Bench]:
    """A store in a folder that any user may pass through: pytest's own is closed."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o711)
        yield Bench(Path(folder, "state", "state.db"))


def test_everything_works_in_the_locked_process(bench: Bench) -> None:
    accounts = 2 * _store._CHECKPOINT + 40

    def then(store: Store, book: AddressBook) -> Any:
        store.load()
        for number in range(accounts):
            bench.see(store, book, f"user{number}", number % 200)
        store._fail(MemoryError())
        bench.see(store, book, "unsaved", 7)
        bench.wait(6)
        store.retry()
        names = len(list(store.names()))
        working = store.status().working
        store.close(["user1"])
        return store.was_clean, names, working, store.status().failures

    first = locked(bench, then)
    assert first.value == (True, accounts + 1, True, 1), first
    assert Path(f"{bench.path}-wal").exists(), "nothing can be removed there"
    again = locked(bench, lambda store, _: (store.was_clean, store.pending, store.load()))
    assert again.value == (True, ("user1",), bench.accounts), again
    killed = locked(bench, lambda store, _: (store.was_clean, store.pending))
    assert killed.value == (False, ()), killed


def test_a_full_disk_does_not_end_the_locked_process(bench: Bench) -> None:
    """SQLite calls nothing else when a write fails: it would be killed for it."""

    def then(store: Store, book: AddressBook) -> Any:
        for number in range(2000):
            bench.see(store, book, f"user{number}" * 10, number % 200)
        store.close(["user1"])
        return store.status().failures > 0, bool(store.status().unsaved)

    def inside() -> object:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
        return locked(bench, then).value

    assert run(inside).value == (True, True)


def test_a_store_that_cannot_be_used_permits_nothing(bench: Bench) -> None:
    bench.path = bench.path.parent / "missing" / "state.db"

    def then(store: Store, book: AddressBook) -> Any:
        bench.see(store, book, "anna", 1)
        store.retry()
        store.close()
        return store.descriptors, book.fresh("anna", bench.now)

    assert locked(bench, then).value == ((), (address(1),))


PROGRAM: Final = """
import os, sys, time
from mailbell.core.networks import Address, Family
from mailbell.logs.journal import Journal
from mailbell.sender._address_book import AddressBook
from mailbell.sender._store import Store
from mailbell.sender._store_file import NEEDED, examine

book = AddressBook(1800, 4, secret="of the tests")
store = Store.open(
    examine(sys.argv[1], None), book=book, journal=Journal(print, time.monotonic),
    steady=time.monotonic, wall=time.time,
)
print(*store.descriptors, flush=True)
os.write(1, b"opened")
store.load()
for number in range(1200):
    name, address = f"user{number}@example.org", Address(Family.IPV4, 0xC6336401)
    book.see(name, address, time.monotonic())
    store.note(name, address)
list(store.names())
store._fail(MemoryError())
store._retry_at = 0
store.retry()
store.close(["user7@example.org"])
os.write(1, b"closed")
"""

# pread64 and pwrite64: pages. ftruncate: a checkpoint ends. newfstatat or fstat: how long.
# The others belong to CPython and the C library: memory.
MEMORY: Final = {"brk", "mmap", "munmap", "mremap", "madvise"}
FILES: Final = {"pread64", "pwrite64", "ftruncate", "fstat", "newfstatat", "close"}
PERMITTED: Final = MEMORY | FILES


@pytest.mark.parametrize("start", ["new", "killed", "ended"])
def test_no_file_is_opened_after_the_store(tmp_path: Path, start: str) -> None:
    """Every call between the end of `Store.open` and the end of `close`, from strace(1)."""
    strace = shutil.which("strace")
    if strace is None:
        pytest.skip("strace is not installed")
    bench = Bench(tmp_path / "state" / "state.db")
    if start != "new":
        store, book = bench.open()
        for number in range(300):
            bench.see(store, book, f"old{number}", 1)
        if start == "ended":
            store.close()
        else:
            kill(store)
    trace = tmp_path / "trace"
    done = subprocess.run(
        [strace, "-o", str(trace), "-s", "64", sys.executable, "-c", PROGRAM, str(bench.path)],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    descriptors = set(done.stdout.splitlines()[0].split())
    assert len(descriptors) == 2
    text = trace.read_text()
    _, found, rest = text.partition('write(1, "opened"')
    during, closed, _ = rest.partition('write(1, "closed"')
    assert found
    assert closed
    calls = re.findall(r"^(\w+)\(([^,)]*)(.*)$", during, re.MULTILINE)
    # The end of the run is without a sandbox here: SQLite asks whether its file has moved,
    # gives its locks back and removes its log. In the locked process the first answer is an
    # error, and the log stays.
    working = [call for call in calls if not _is_of_the_end(*call)]
    names = {name for name, _, _ in working}
    assert names <= PERMITTED, names - PERMITTED
    assert {"pread64", "pwrite64", "ftruncate"} <= names
    for call in working:
        assert _is_harmless(descriptors, *call), call


def _is_harmless(descriptors: set[str], name: str, first: str, others: str) -> bool:
    if name == "mmap":
        return "MAP_ANONYMOUS" in others
    if name == "newfstatat":
        return first in descriptors and others.startswith(', ""') and "AT_EMPTY_PATH" in others
    return name in MEMORY or first in descriptors


def _is_of_the_end(name: str, first: str, others: str) -> bool:
    return (
        (name == "newfstatat" and first == "AT_FDCWD")
        or (name == "fcntl" and "F_SETLK" in others and "F_UNLCK" in others)
        or name in {"stat", "unlink"}
    )
