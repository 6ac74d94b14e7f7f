"""What the agent's commands leave behind: nothing lives on, and two runs never overlap."""

import fcntl
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Final

import pytest
from harness.daemon import PATIENCE, Daemon, configuration, ring, started, until
from system.agents import agent, log, runs
from system.support import GENEROUS, program

from mailbell.agent._lock import take
from mailbell.core.errors import TemporaryError


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Use a folder for the locks that only this test has."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    more = f'{GENEROUS}\n[coalesce]\ninterval = "10ms"\n'
    with started(tmp_path, configuration(tmp_path, tcp=["127.0.0.1:0"], more=more)) as made:
        yield made


# Leaves a daemon behind, and does what its argument says. A file stays locked as long as one
# of these processes lives; it tells whether it was locked before.
LEAVE: Final = """
import fcntl, os, select, signal, sys
signal.alarm(60)
note = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
try:
    fcntl.flock(note, fcntl.LOCK_EX | fcntl.LOCK_NB)
except BlockingIOError:
    print("overlap", flush=True)
reader, writer = os.pipe()
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        signal.alarm(60)
        os.write(writer, b"%d" % os.getpid())
        signal.pause()
    os._exit(0)
os.write(note, b"%d %s\\n" % (os.getpid(), os.read(reader, 20)))
exec(sys.argv[2])
"""


def leave(note: Path, then: str) -> tuple[str, ...]:
    return (sys.executable, "-c", LEAVE, str(note), then)


def is_free(note: Path) -> bool:
    """Return whether no process of such a command lives."""
    with note.open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


def has_run(directory: Path, times: int) -> bool:
    return log(directory).count("event=ran ") == times


def begun(note: Path) -> int:
    """Return how many of these commands have left their daemon."""
    return note.read_text().count("\n") if note.exists() else 0


def lock_is_free(home: Path) -> bool:
    try:
        take(str(home / ".local/state/mailbell"), "fetch", []).close()
    except TemporaryError:
        return False
    return True


def test_the_next_run_begins_when_nothing_of_the_last_one_lives(
    tmp_path: Path, daemon: Daemon
) -> None:
    note = tmp_path / "note"
    command = leave(note, "sys.exit(0)")
    with agent(daemon, tmp_path, "--min-gap=100ms", command=command):
        for times in (1, 2, 3):
            ring(daemon.endpoint())
            until(partial(has_run, tmp_path, times))
    assert begun(note) == 3
    assert log(tmp_path).count("code=0 left_over=ended") == 3
    assert "overlap" not in log(tmp_path)


def test_at_the_end_of_the_agent_nothing_lives(tmp_path: Path, daemon: Daemon) -> None:
    note = tmp_path / "note"
    with agent(daemon, tmp_path, command=leave(note, "signal.pause()")) as running:
        ring(daemon.endpoint())
        until(lambda: begun(note) == 1)
        running.send_signal(signal.SIGTERM)
        assert running.wait(PATIENCE) == 0
        assert is_free(note)
        assert lock_is_free(tmp_path)


def test_when_the_agent_is_killed_its_command_is_asked_to_end(
    tmp_path: Path, daemon: Daemon
) -> None:
    note = tmp_path / "note"
    with agent(daemon, tmp_path, command=leave(note, "signal.pause()")) as running:
        ring(daemon.endpoint())
        until(lambda: begun(note) == 1)
        running.kill()
        running.wait(PATIENCE)
        until(lambda: lock_is_free(tmp_path))
        assert is_free(note)


DEAF: Final = "signal.signal(signal.SIGTERM, signal.SIG_IGN)\nwhile True: signal.pause()"


def test_killed_outright_it_leaves_the_lock_to_nobody_before_its_command_has_ended(
    tmp_path: Path, daemon: Daemon
) -> None:
    note = tmp_path / "note"
    with agent(daemon, tmp_path, command=leave(note, DEAF)) as running:
        ring(daemon.endpoint())
        until(lambda: begun(note) == 1)
        command, _ = note.read_text().split()
        until(lambda: is_deaf(command))
        running.kill()
        running.wait(PATIENCE)
    second = subprocess.run(
        [*program("mailbell", "run"), "--socket", str(daemon.path), "--", "true"],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=PATIENCE,
    )  # fmt: skip
    assert second.returncode == 75
    assert f"process {command}, which an earlier mailbell run started" in second.stderr
    assert not is_free(note)
    os.kill(int(command), signal.SIGKILL)
    until(lambda: not runs(command))
    until(lambda: lock_is_free(tmp_path))
    assert is_free(note)


def is_deaf(pid: str) -> bool:
    status = Path(f"/proc/{pid}/status").read_text()
    return bool(int(status.partition("SigIgn:\t")[2][:16], 16) & 1 << signal.SIGTERM - 1)


KILL_THE_KEEPER: Final = "os.kill(os.getppid(), signal.SIGKILL)\nsignal.pause()"


def test_a_command_that_kills_its_keeper_does_not_get_away(tmp_path: Path, daemon: Daemon) -> None:
    """The agent adopts what the keeper leaves, and ends it."""
    note = tmp_path / "note"
    with agent(daemon, tmp_path, command=leave(note, KILL_THE_KEEPER)):
        ring(daemon.endpoint())
        until(lambda: "event=ran " in log(tmp_path))
        assert is_free(note)
        assert "left_over=ended" in log(tmp_path)
        assert "the process that watches it was killed" in log(tmp_path)


def test_one_that_kills_both_keeps_the_lock_while_its_session_lives(
    tmp_path: Path, daemon: Daemon
) -> None:
    note = tmp_path / "note"
    code = """
with open(f"/proc/{os.getppid()}/stat") as file:
    agent = int(file.read().rpartition(") ")[2].split()[1])
os.kill(agent, signal.SIGSTOP)
os.kill(os.getppid(), signal.SIGKILL)
os.kill(agent, signal.SIGKILL)
signal.pause()
"""
    with agent(daemon, tmp_path, command=leave(note, code)) as running:
        ring(daemon.endpoint())
        running.wait(PATIENCE)
    command, other = map(int, note.read_text().split())
    assert not lock_is_free(tmp_path)
    os.kill(command, signal.SIGKILL)
    until(lambda: lock_is_free(tmp_path))
    os.kill(other, signal.SIGKILL)  # it has a session of its own, and no keeper
