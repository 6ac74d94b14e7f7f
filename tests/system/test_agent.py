"""`mailbell run` as a person starts it, with a real daemon and a real command."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
from harness.daemon import PATIENCE, Daemon, configuration, ring, started, until
from system.agents import PACE, agent, log, runs
from system.support import GENEROUS, program


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Use a folder for the locks that only this test has."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    more = f'{GENEROUS}\n[coalesce]\ninterval = "10ms"\n'
    with started(tmp_path, configuration(tmp_path, tcp=["127.0.0.1:0"], more=more)) as made:
        yield made


def words(directory: Path) -> list[list[str]]:
    return [line.split() for line in (directory / "diary").read_text().splitlines()]


def begun(directory: Path) -> list[list[str]]:
    return [each for each in words(directory) if each[0] == "begin"]


def test_of_a_storm_every_notification_is_answered_and_never_two_at_once(
    tmp_path: Path, daemon: Daemon
) -> None:
    rung = 500
    with agent(daemon, tmp_path, "--min-gap=100ms"):
        endpoint = daemon.endpoint()
        for _ in range(rung):
            ring(endpoint)
        until(
            lambda: (
                sum(int(count) for _, count, _ in begun(tmp_path)) == rung
                and words(tmp_path)[-1] == ["end"]
            )
        )
    assert [each[0] for each in words(tmp_path)] == ["begin", "end"] * len(begun(tmp_path))
    assert 1 <= len(begun(tmp_path)) < rung / 10
    assert {cause for *_, cause in begun(tmp_path)} == {"network"}


def test_a_second_agent_by_mistake_is_told_of_the_first(tmp_path: Path, daemon: Daemon) -> None:
    with agent(daemon, tmp_path) as first:
        second = subprocess.run(
            [*program("mailbell", "run"), "--socket", str(daemon.path), "--", "true"],
            stdin=subprocess.DEVNULL, capture_output=True, text=True,
            check=False, timeout=PATIENCE,
        )  # fmt: skip
        assert second.returncode == 75
        (line,) = second.stderr.splitlines()
        assert line.startswith("mailbell: ")
        assert f"pid {first.pid}" in line
        ring(daemon.endpoint())
        until(lambda: len(begun(tmp_path)) == 1)


def test_told_to_stop_it_ends_the_command_and_all_it_started(
    tmp_path: Path, daemon: Daemon
) -> None:
    note = tmp_path / "pids"
    hang = (
        "import os, subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        f"open({str(note)!r}, 'w').write(f'{{os.getpid()}} {{child.pid}}\\n')\n"
        "time.sleep(600)\n"
    )
    with agent(daemon, tmp_path, command=(sys.executable, "-c", hang)) as running:
        ring(daemon.endpoint())
        until(lambda: note.exists() and note.read_text().endswith("\n"))
        running.send_signal(signal.SIGTERM)
        assert running.wait(PATIENCE) == 0
        assert not any(map(runs, note.read_text().split()))


# Writes down its process id, and later that it got SIGTERM; it ends a moment after that.
STUBBORN: Final = """
import os, signal, sys, time
def told(*_):
    with open(sys.argv[1], "a") as file:
        file.write("told\\n")
signal.signal(signal.SIGTERM, told)
with open(sys.argv[1], "a") as file:
    file.write(f"{os.getpid()}\\n")
while not os.path.exists(sys.argv[2]):
    time.sleep(0.01)
"""


@pytest.fixture
def hang_up() -> Iterator[None]:
    """Give SIGHUP the action that it has in a terminal, even if nohup started these tests."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.mark.usefixtures("hang_up")
@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGINT, signal.SIGTERM])
def test_told_to_stop_again_and_again_it_still_waits_for_the_command(
    tmp_path: Path, daemon: Daemon, number: signal.Signals
) -> None:
    note, end = tmp_path / "note", tmp_path / "end"
    words = (sys.executable, "-c", STUBBORN, str(note), str(end))
    with agent(daemon, tmp_path, command=words) as running:
        ring(daemon.endpoint())
        until(lambda: note.exists() and note.read_text().endswith("\n"))
        running.send_signal(number)
        until(lambda: "told" in note.read_text())
        for again in (number, signal.SIGTERM, signal.SIGINT):
            running.send_signal(again)
        with pytest.raises(subprocess.TimeoutExpired):
            running.wait(0.3)
        end.touch()
        assert running.wait(PATIENCE) == 0
        assert not runs(note.read_text().split()[0])


@pytest.mark.usefixtures("hang_up")
def test_under_nohup_it_survives_the_terminal(tmp_path: Path, daemon: Daemon) -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # which the agent inherits
    with agent(daemon, tmp_path) as running:
        running.send_signal(signal.SIGHUP)
        ring(daemon.endpoint())
        until(lambda: ["end"] in words(tmp_path))
        assert running.poll() is None


UNUSABLE: Final = {
    "gone": {"NOTIFY_SOCKET": "/no/such/socket"},
    "relative": {"NOTIFY_SOCKET": "notify"},
    "too long": {"NOTIFY_SOCKET": "/" + "x" * 200},
    "no number": {"WATCHDOG_USEC": "soon"},
}


@pytest.mark.parametrize("environ", UNUSABLE.values(), ids=UNUSABLE)
def test_what_a_service_manager_passes_and_is_of_no_use_is_one_line(
    tmp_path: Path, daemon: Daemon, environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a container that inherits the variable."""
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    for name in ("LISTEN_PID", "LISTEN_FDS", "MAINPID", "INVOCATION_ID", "JOURNAL_STREAM"):
        monkeypatch.setenv(name, "garbage")
    show = "import os; print(sorted({*os.environ} & {'NOTIFY_SOCKET', 'WATCHDOG_USEC'}))"
    with agent(daemon, tmp_path, command=(sys.executable, "-c", show)):
        ring(daemon.endpoint())
        until(lambda: "event=ran" in log(tmp_path))
        lines = [line for line in log(tmp_path).splitlines() if "unusable" in line]
        (name,) = environ
        assert len(lines) == 1
        assert f'event=service_manager_unusable what="{name}=' in lines[0]
        # The variable is for the agent, and not for the command that the agent runs.
        assert 'line="[]"' in log(tmp_path) or "line=[]" in log(tmp_path)


# Becomes the program, without standard streams.
CLOSER: Final = """
import os, sys
os.closerange(0, 3)
os.execv(sys.argv[1], sys.argv[1:])
"""


def test_without_standard_streams_nothing_takes_their_places(
    tmp_path: Path, daemon: Daemon
) -> None:
    note = tmp_path / "note"
    touch = f"import os; os.close(os.open({str(note)!r}, os.O_CREAT))"
    process = subprocess.Popen(
        [
            sys.executable, "-c", CLOSER, *program("mailbell", "run"), *PACE,
            "--socket", str(daemon.path), "--", sys.executable, "-c", touch,
        ]
    )  # fmt: skip
    try:
        until(lambda: daemon.status().subscribers == 1)
        for number in range(3):
            assert os.readlink(f"/proc/{process.pid}/fd/{number}") == os.devnull
        ring(daemon.endpoint())
        until(note.exists)
    finally:
        process.terminate()
        assert process.wait(PATIENCE) == 0
