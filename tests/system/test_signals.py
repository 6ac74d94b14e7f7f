"""Every signal from 1 to 64, sent to the daemon and to the agent."""

import os
import signal
import sys
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Final

import pytest
from harness.daemon import PATIENCE, Daemon, configuration, ring, started, until
from system.agents import agent, log, runs
from system.support import GENEROUS

# A process cannot have a handler for these.
FORCED: Final = {signal.SIGKILL, signal.SIGSTOP}
# These say that the program is broken, so it ends at once.
BROKEN: Final = {
    signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGSEGV, signal.SIGSYS,
    signal.SIGTRAP,
}  # fmt: skip
# Ctrl-Z in a terminal sends the first; the second lets the program go on.
JOB_CONTROL: Final = {signal.SIGTSTP, signal.SIGCONT}
# The C library uses these, and a program cannot change their action: it stays as it was
# when the program started.
OF_THE_LIBRARY: Final = {32, 33}
ENDING: Final = {
    signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGXCPU, signal.SIGPWR,
}  # fmt: skip
IGNORED: Final = (
    {*range(1, 65)} - FORCED - BROKEN - JOB_CONTROL - OF_THE_LIBRARY - ENDING - {signal.SIGHUP}
)

# Becomes the program, with all signals blocked and nearly all ignored.
DEAF: Final = """
import os, signal, sys
terminal = {signal.SIGHUP, signal.SIGINT, signal.SIGQUIT}
for number in signal.valid_signals():
    if number not in {signal.SIGKILL, signal.SIGSTOP}:
        default = number in terminal or number in {signal.SIGTSTP, signal.SIGCONT}
        signal.signal(number, signal.SIG_DFL if default else signal.SIG_IGN)
signal.pthread_sigmask(signal.SIG_SETMASK, signal.valid_signals())
os.execv(sys.argv[1], sys.argv[1:])
"""
THROUGH: Final = (sys.executable, "-c", DEAF)


def mask(pid: int, name: str) -> set[int]:
    """Return a set of signals that the kernel has for a process, without the C library's."""
    text = Path(f"/proc/{pid}/status").read_text()
    (bits,) = (line.split()[1] for line in text.splitlines() if line.startswith(f"{name}:"))
    held = {number for number in range(1, 65) if int(bits, 16) & 1 << number - 1}
    return held - OF_THE_LIBRARY


@pytest.fixture(autouse=True)
def default_signals() -> Iterator[None]:
    """Set the actions of a terminal, even if nohup or a background job started these tests."""
    numbers = (signal.SIGHUP, signal.SIGQUIT)
    before = [signal.signal(number, signal.SIG_DFL) for number in numbers]
    yield
    for number, handler in zip(numbers, before, strict=True):
        signal.signal(number, handler)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)


def test_the_table_has_every_signal_once() -> None:
    kinds = (FORCED, BROKEN, JOB_CONTROL, OF_THE_LIBRARY, ENDING, IGNORED, {signal.SIGHUP})
    assert sorted(number for kind in kinds for number in kind) == list(range(1, 65))


# --- the daemon ----------------------------------------------------------------------


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    more = f'{GENEROUS}\n[coalesce]\ninterval = "10ms"\n'
    with started(tmp_path, configuration(tmp_path, tcp=["127.0.0.1:0"], more=more)) as made:
        yield made


def require_as_the_table_says(pid: int, but: Collection[int] = ()) -> None:
    assert mask(pid, "SigBlk") == set()
    assert mask(pid, "SigCgt") - BROKEN - set(but) == ENDING | {signal.SIGHUP}
    assert mask(pid, "SigIgn") - BROKEN - set(but) == IGNORED - set(but)


@pytest.mark.unwatched(reason="whoever watches has signals of its own")
@pytest.mark.parametrize("command", [(), THROUGH], ids=["as it is", "deaf"])
def test_the_daemon_means_the_same_however_it_was_started(
    tmp_path: Path, command: tuple[str, ...]
) -> None:
    with started(tmp_path, command=command) as made:
        require_as_the_table_says(made.pid)


def test_what_means_nothing_to_the_daemon_changes_nothing(daemon: Daemon) -> None:
    for number in sorted(IGNORED):
        os.kill(daemon.pid, number)
        assert daemon.status().pid == daemon.pid, number
    assert daemon.stop() == 0


@pytest.mark.parametrize("number", sorted(ENDING), ids=lambda number: number.name)
def test_the_daemon_ends_in_order(daemon: Daemon, number: signal.Signals) -> None:
    os.kill(daemon.pid, number)
    # A second signal, of another kind, while the daemon ends.
    os.kill(daemon.pid, signal.SIGTERM)
    os.kill(daemon.pid, signal.SIGINT)
    assert daemon.process.wait(PATIENCE) == 0
    assert any("event=stopping" in line for line in daemon.lines())
    assert daemon.told() == b"STOPPING=1"


def test_the_daemon_says_that_it_does_not_read_its_configuration_again(daemon: Daemon) -> None:
    os.kill(daemon.pid, signal.SIGHUP)
    daemon.until_logged("event=reload_ignored signal=SIGHUP")
    assert daemon.stop() == 0


@pytest.mark.unwatched(reason="what ends it at once ends its watcher otherwise")
@pytest.mark.parametrize("number", sorted(BROKEN | {signal.SIGKILL}))
def test_the_daemon_ends_at_once(daemon: Daemon, number: int) -> None:
    os.kill(daemon.pid, number)
    assert daemon.process.wait(PATIENCE) == -number


# --- the agent -----------------------------------------------------------------------

# Writes down its process id, and runs until a signal ends it.
HANG: Final = """
import os, signal, sys
with open(sys.argv[1], "w") as file:
    file.write(f"{os.getpid()}\\n")
while True:
    signal.pause()
"""


@pytest.mark.parametrize("through", [(), THROUGH], ids=["as it is", "deaf"])
def test_the_agent_means_the_same_however_it_was_started(
    tmp_path: Path, daemon: Daemon, through: tuple[str, ...]
) -> None:
    with agent(daemon, tmp_path, through=through) as running:
        # The agent handles SIGCHLD, because it reaps.
        require_as_the_table_says(running.pid, {signal.SIGCHLD})


def test_what_means_nothing_to_the_agent_changes_nothing(tmp_path: Path, daemon: Daemon) -> None:
    with agent(daemon, tmp_path) as running:
        for number in sorted(IGNORED):
            running.send_signal(number)
        ring(daemon.endpoint())
        until(lambda: "event=ran" in log(tmp_path))
        assert running.poll() is None


@pytest.mark.parametrize("number", sorted(ENDING | {signal.SIGHUP}), ids=lambda number: number.name)
def test_the_agent_ends_in_order_and_its_command_with_it(
    tmp_path: Path, daemon: Daemon, number: signal.Signals
) -> None:
    note = tmp_path / "note"
    with agent(daemon, tmp_path, command=(sys.executable, "-c", HANG, str(note))) as running:
        ring(daemon.endpoint())
        until(lambda: note.exists() and note.read_text().endswith("\n"))
        running.send_signal(number)
        assert running.wait(PATIENCE) == 0
        assert not runs(note.read_text().strip())
        assert f"event=stopping signal={number.name} commands=1\n" in log(tmp_path)
