"""What makes the machines: its programs, locks, cache, and failures. No machine is needed."""

import fcntl
import os
import select
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pytest
from harness.daemon import PATIENCE
from machines import cache, kernel, processes, wheels
from machines.books import Books
from machines.description import MACHINES
from machines.kernel import Kernel, make_kernel
from machines.userland import make_keys

TESTS: Final = Path(__file__).parents[2]
HOLDS: Final = f"""
import sys
sys.path.insert(0, {str(TESTS)!r})
from pathlib import Path
from machines.processes import ALONE, locked, run
with locked(Path(sys.argv[1])):
    run(*(ALONE if sys.argv[2] == "alone" else ()), "sh", "-c", sys.argv[3])
"""


@contextmanager
def killed_while(how: str, line: str, folder: Path) -> Iterator[int]:
    """Hold a lock and run a line of sh(1) that opens the FIFO $1; give its other end then."""
    os.mkfifo(folder / "fifo")
    line = line.replace("$1", str(folder / "fifo"))
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDS, folder / "lock", how, line], stdin=subprocess.DEVNULL
    )
    reader = os.open(folder / "fifo", os.O_RDONLY)  # waits until the line has opened it
    try:
        holder.kill()
        holder.wait()
        yield reader
    finally:
        os.close(reader)


def test_a_program_ends_with_the_run_and_then_the_lock(tmp_path: Path) -> None:
    with (
        killed_while("", "exec sleep 1000 >$1", tmp_path) as reader,
        processes.locked(tmp_path / "lock"),
    ):
        # The kernel closes the files of a process that ends one after the other, the lock or the
        # FIFO first.
        ended, _, _ = select.select([reader], [], [], PATIENCE)
        assert ended
        assert os.read(reader, 1) == b"", "it has ended: nobody has the other end"


def test_the_lock_is_held_by_what_a_program_left_behind(tmp_path: Path) -> None:
    left = "(trap '' TERM; exec cat $2 >$1) & wait".replace("$2", str(tmp_path / "ends"))
    os.mkfifo(tmp_path / "ends")
    with killed_while("", left, tmp_path) as reader, open(tmp_path / "lock") as lock:
        with pytest.raises(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        (tmp_path / "ends").write_bytes(b"")
        assert os.read(reader, 1) == b""
        fcntl.flock(lock, fcntl.LOCK_EX)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes machines")
def test_nothing_outlives_what_runs_alone(tmp_path: Path) -> None:
    with killed_while("alone", "(setsid sleep 1000 >$1) & wait", tmp_path) as reader:
        assert os.read(reader, 1) == b"", "the grandchild has ended"


def test_a_program_reads_nothing_from_a_person() -> None:
    assert processes.run("cat") == b""
    assert processes.run("cat", data=b"words") == b"words"


def test_a_program_has_a_time_limit_and_last_words() -> None:
    with pytest.raises(subprocess.TimeoutExpired):
        processes.run("sleep", "1000", seconds=0.1)
    with pytest.raises(RuntimeError, match=r"sh -c .*: the reason"):
        processes.run("sh", "-c", "echo the reason >&2; exit 3")


def test_keys_are_made_once_and_never_in_halves(tmp_path: Path) -> None:
    half = tmp_path / "keys.part"
    half.mkdir()
    (half / "client").write_text("of a run that was killed")
    keys = make_keys(tmp_path / "keys")
    text = keys.client.read_text()
    assert "PRIVATE KEY" in text
    assert keys.host.with_suffix(".pub").exists()
    assert make_keys(tmp_path / "keys").client.read_text() == text


def test_what_is_made_of_something_else_is_made_anew(tmp_path: Path) -> None:
    made: list[Path] = []
    first = cache.kept(tmp_path, "disk", ("a", 1), made.append)
    other = cache.kept(tmp_path, "disk-of-another", ("a", 1), made.append)
    assert cache.kept(tmp_path, "disk", ("a", 1), made.append) == first
    assert len(made) == 2
    second = cache.kept(tmp_path, "disk", ("a", 2), made.append)
    assert sorted(tmp_path.iterdir()) == sorted([other, second]), "the old one is removed"


def test_what_could_not_be_made_is_not_there(tmp_path: Path) -> None:
    def fail(folder: Path) -> None:
        (folder / "half").touch()
        raise RuntimeError("the reason")

    with pytest.raises(RuntimeError, match="the reason"):
        cache.kept(tmp_path, "disk", 1, fail)
    place = cache.kept(tmp_path, "disk", 1, lambda folder: (folder / "all").touch())
    assert [path.name for path in place.iterdir()] == ["all"]


def test_only_its_owner_reads_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "CACHE", tmp_path / "deep" / "cache")
    with cache.cache_locked():
        assert (tmp_path / "deep" / "cache").stat().st_mode & 0o777 == 0o700


def test_a_kernel_is_taken_from_the_cache_until_its_parts_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fill(place: Path, *_: object) -> None:
        (place / "version").write_text("6.12.1")

    def nobody() -> Books:
        raise AssertionError("the mirror is asked")

    def made(books: Any) -> Kernel:
        return make_kernel(MACHINES["trixie"], books, tmp_path / "busybox", tmp_path / "kernels")

    monkeypatch.setattr(kernel, "_fill", fill)
    (tmp_path / "busybox").write_bytes(b"busybox")
    first = made(lambda: None)
    assert first.version == "6.12.1"
    assert made(nobody) == first
    for change in (
        lambda: monkeypatch.setattr(kernel, "_FURTHER", (*kernel._FURTHER, "tun")),
        lambda: monkeypatch.setattr(kernel, "_INIT", f"{kernel._INIT}#"),
        lambda: (tmp_path / "busybox").write_bytes(b"a newer busybox"),
    ):
        change()
        assert made(lambda: None).image != first.image
        assert len(list((tmp_path / "kernels").iterdir())) == 1


def test_wheels_are_downloaded_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []
    monkeypatch.setattr(wheels, "CACHE", tmp_path)
    monkeypatch.setattr(cache, "CACHE", tmp_path)
    monkeypatch.setattr(wheels, "run", lambda *command: asked.append(command))
    places = {wheels.wheels("amd64", "3.13") for _ in range(2)}
    places.add(wheels.wheels("amd64", "3.13", "test"))
    assert len(places) == len(asked) == 2
