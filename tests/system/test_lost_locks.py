"""The folder of the locks is removed while an agent runs. Two agents never fetch for long."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness.daemon import PATIENCE, Daemon, configuration, ring, started, until
from system.agents import agent, log
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


def begun(diary: Path) -> int:
    return diary.read_text().count("begin")


def test_before_its_next_run_it_takes_the_lock_again(tmp_path: Path, daemon: Daemon) -> None:
    with agent(daemon, tmp_path) as first:
        shutil.rmtree(tmp_path / ".local")
        ring(daemon.endpoint())
        until(lambda: begun(tmp_path / "diary") == 1)
        said = log(tmp_path)
        assert said.index("event=locks_taken_again") < said.index("event=run ")
        second = subprocess.run(
            [*program("mailbell", "run"), "--socket", str(daemon.path), "--", "true"],
            stdin=subprocess.DEVNULL, capture_output=True, text=True,
            check=False, timeout=PATIENCE,
        )  # fmt: skip
        assert second.returncode == 75
        assert f"pid {first.pid}" in second.stderr


def test_if_another_agent_has_it_by_then_it_ends_and_begins_no_run(
    tmp_path: Path, daemon: Daemon
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    with agent(daemon, tmp_path) as first:
        shutil.rmtree(tmp_path / ".local")
        with agent(daemon, other) as second:
            ring(daemon.endpoint())
            assert first.wait(PATIENCE) == 75
            until(lambda: begun(other / "diary") == 1)
        last = log(tmp_path).splitlines()[-1]
        assert "mailbell: " in last
        assert "was removed or replaced while this agent ran" in last
        assert f"now another mailbell run (pid {second.pid}) fetches" in last
        assert "event=run " not in log(tmp_path)
        assert begun(tmp_path / "diary") == 0
