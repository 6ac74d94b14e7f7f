"""Daemon and agent as the first process of a container: each in its own PID namespace.

The kernel delivers to this process only signals that it has a handler for, and makes it
the parent of each process whose own parent has ended.
"""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Final

import pytest
from harness.daemon import PATIENCE, Daemon, configuration, ring, started, until
from system.agents import agent, log
from system.support import GENEROUS, opened_by, program

# Runs the program as the first process. All processes of the namespace end with it, and it
# ends with the test.
CONTAINER: Final = (
    "unshare", *(() if os.geteuid() == 0 else ("--user", "--map-current-user")),
    "--pid", "--fork", "--mount-proc", "--kill-child", "--",
)  # fmt: skip

# Becomes the program, which adopts what its descendants leave: PR_SET_CHILD_SUBREAPER(2const).
ADOPT: Final = """
import ctypes, os, sys
ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)
os.execv(sys.argv[1], sys.argv[1:])
"""
SUBREAPER: Final = (sys.executable, "-c", ADOPT)

# Starts processes that leave its session, and ends. Each of them ends a moment after its
# parent, and adds a line.
LEAVE: Final = """
import os, select, sys
parent, held = os.pipe()
for _ in range(20):
    if os.fork() == 0:
        os.setsid()
        os.close(held)
        select.select([parent], [], [])
        note = os.open(sys.argv[1], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(note, b"left\\n")
        os._exit(0)
sys.exit(7)
"""

pytestmark = [
    pytest.mark.unwatched(reason="whoever watches would be the first process"),
    pytest.mark.skipif(
        subprocess.run([*CONTAINER, "true"], check=False, capture_output=True).returncode != 0,
        reason="needs root, or a user namespace, which this system does not grant",
    ),
]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)


def children(pid: int) -> dict[int, str]:
    """Return the children of a process, and the letter of each one's state: proc_pid_stat(5)."""
    found = {}
    for name in filter(str.isdecimal, os.listdir("/proc")):
        try:
            state, parent = Path(f"/proc/{name}/stat").read_text().rpartition(") ")[2].split()[:2]
        except OSError:
            continue
        if int(parent) == pid:
            found[int(name)] = state
    return found


def first_of(process: "subprocess.Popen[str] | subprocess.Popen[bytes]") -> int:
    """Return the first process of the namespace, by its id outside."""
    (pid,) = children(process.pid)
    return pid


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    more = f'{GENEROUS}\n[coalesce]\ninterval = "10ms"\n'
    with started(tmp_path, configuration(tmp_path, tcp=["127.0.0.1:0"], more=more)) as made:
        yield made


@pytest.mark.parametrize("through", [CONTAINER, SUBREAPER], ids=["first process", "subreaper"])
def test_the_agent_buries_what_its_commands_leave_and_knows_how_they_ended(
    tmp_path: Path, daemon: Daemon, through: tuple[str, ...]
) -> None:
    note = tmp_path / "note"
    command = (sys.executable, "-c", LEAVE, str(note))
    options = ("--min-gap=100ms", "--ok-codes=7")
    with agent(daemon, tmp_path, *options, command=command, through=through) as running:
        pid = first_of(running) if through is CONTAINER else running.pid
        for times in (1, 2):
            ring(daemon.endpoint())
            until(partial(has_left, note, 20 * times))
            until(partial(has_run, tmp_path, times))
        until(lambda: children(pid) == {}, "the end of the last process")
        assert re.findall(r" code=(\d+)", log(tmp_path)) == ["7", "7"]
        os.kill(pid, signal.SIGTERM)
        assert running.wait(PATIENCE) == 0
    assert "event=stopping signal=SIGTERM" in log(tmp_path)


def has_left(note: Path, processes: int) -> bool:
    return note.exists() and note.read_text() == "left\n" * processes


def has_run(directory: Path, times: int) -> bool:
    return log(directory).count("event=ran ") == times


def test_the_agent_also_buries_what_no_command_has_left(tmp_path: Path, daemon: Daemon) -> None:
    with agent(daemon, tmp_path, through=CONTAINER) as running:
        pid = first_of(running)
        enter(pid)
        until(lambda: children(pid) == {}, "the end of the last process")
        ring(daemon.endpoint())
        until(lambda: "event=ran " in log(tmp_path))
        os.kill(pid, signal.SIGTERM)
        assert running.wait(PATIENCE) == 0


def test_what_means_nothing_does_not_end_the_first_process(tmp_path: Path, daemon: Daemon) -> None:
    with agent(daemon, tmp_path, through=CONTAINER) as running:
        pid = first_of(running)
        os.kill(pid, signal.SIGUSR1)
        os.kill(pid, signal.SIGCHLD)
        ring(daemon.endpoint())
        until(lambda: "event=ran " in log(tmp_path))
        os.kill(pid, signal.SIGINT)
        assert running.wait(PATIENCE) == 0


# Leaves a process behind in a container, as `docker exec` does, and prints its id there.
ENTER: Final = """
import os
if os.fork() == 0:
    os.setsid()
    os._exit(0)
"""


def enter(pid: int) -> None:
    """Leave some processes behind in the container of a process."""
    into = ["nsenter", f"--pid=/proc/{pid}/ns/pid"]
    if os.geteuid() != 0:
        into += [f"--user=/proc/{pid}/ns/user", "--preserve-credentials"]
    for _ in range(5):
        subprocess.run([*into, sys.executable, "-c", ENTER], check=True)


def test_the_daemon_keeps_nothing_of_what_it_adopts_and_ends_in_order(tmp_path: Path) -> None:
    with started(tmp_path, command=CONTAINER) as made:
        pid = first_of(made.process)
        enter(pid)
        until(lambda: children(pid) == {}, "the end of the last process")
        assert made.status().pid == 1
        os.kill(pid, signal.SIGTERM)
        assert made.process.wait(PATIENCE) == 0
        assert any("event=stopping signal=SIGTERM" in line for line in made.lines())


@pytest.mark.parametrize("name", ["mailbelld", "mailbell"])
def test_told_to_end_before_it_serves_it_ends(tmp_path: Path, name: str) -> None:
    """It must end at once: otherwise the container's manager waits for its time limit and kills."""
    # The configuration is a pipe without data, so the program waits there for ever.
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe, 0o600)
    words = {"mailbelld": ["--config"], "mailbell": ["run", "--config"]}[name]
    process = subprocess.Popen([*CONTAINER, *program(name, *words, str(pipe))])
    try:
        held = opened_by(process, pipe)
        os.kill(first_of(process), signal.SIGTERM)
        assert process.wait(PATIENCE) == 128 + signal.SIGTERM
        os.close(held)
    finally:
        process.kill()
        process.wait()


def test_a_command_that_runs_for_long_ends_on_a_signal(daemon: Daemon) -> None:
    words = program("mailbell", "watch", "--socket", str(daemon.path))
    process = subprocess.Popen([*CONTAINER, *words])
    try:
        until(lambda: daemon.status().subscribers == 1)
        os.kill(first_of(process), signal.SIGTERM)
        assert process.wait(PATIENCE) == 128 + signal.SIGTERM
    finally:
        process.kill()
        process.wait()
