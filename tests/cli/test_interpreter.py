"""The same help with every way to start Python, and errors that name the place."""

import os
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
from cli.support import FakeDaemon, words
from harness.daemon import configuration, ring, started, until

COMMANDS = ("run", "clients", "watch", "top", "status", "send", "notify", "check", "policy")
HELPS = [
    ["mailbell", "--help"],
    *(["mailbell", command, "--help"] for command in COMMANDS),
    ["mailbelld", "--help"],
]

Ended = subprocess.CompletedProcess[str]
Removed = Callable[..., Ended]


def ended(line: list[str], environment: dict[str, str], *, folder: Path | None = None) -> Ended:
    return subprocess.run(
        line, env=environment, cwd=folder, check=False, capture_output=True, text=True, timeout=30
    )


@pytest.mark.parametrize("line", HELPS, ids=" ".join)
def test_help_does_not_depend_on_docstrings(line: list[str], environment: dict[str, str]) -> None:
    """`python -OO` removes docstrings."""
    python, *rest = words(*line)
    plain = ended([python, *rest], environment)
    stripped = ended([python, "-OO", *rest], environment)
    assert (stripped.returncode, stripped.stderr) == (0, "")
    assert stripped.stdout == plain.stdout
    assert len(plain.stdout.splitlines()) > 5


@pytest.mark.parametrize("level", ["1", "2"])
def test_the_daemon_needs_no_assertion(tmp_path: Path, level: str) -> None:
    with started(tmp_path, environ={"PYTHONOPTIMIZE": level}) as daemon:
        ring(daemon.endpoint())
        until(lambda: daemon.counted() == {"accepted": 1})
        assert daemon.kernel_says()["Seccomp"] == "2"
        assert daemon.stop() == 0


def test_the_package_can_be_run(environment: dict[str, str]) -> None:
    done = ended([sys.executable, "-m", "mailbell", "--help"], environment)
    assert done.stdout == ended(words("mailbell", "--help"), environment).stdout


def test_the_package_ends_with_the_commands_exit_code(environment: dict[str, str]) -> None:
    done = ended([sys.executable, "-m", "mailbell", "status"], environment)
    assert done.returncode == 69
    assert done.stderr.startswith("mailbell: ")


@pytest.fixture
def removed(environment: dict[str, str], tmp_path: Path) -> Removed:
    """Runs an installed program in a folder that is removed before the program starts.

    Not `python -c`, which looks for modules in the current folder: when that folder is gone,
    CPython 3.13.0 ends many imports with a SystemError of its own.
    """

    def run(program: str, *arguments: str) -> Ended:
        line = [str(Path(sys.executable).with_name(program)), *arguments]
        folder = tmp_path / "folder"
        folder.mkdir()
        script = f'rmdir "$PWD" && exec {shlex.join(line)}'
        return ended(["sh", "-c", script], environment | {"HOME": str(tmp_path)}, folder=folder)

    return run


@pytest.mark.parametrize(
    "line", [["status"], ["watch", "--count", "1"], ["notify"], ["top", "--once"], ["policy"],
             ["clients"], ["clients", "mbsync"], ["send", "127.0.0.1:1"], ["--help"], ["--version"],
             ["check", "--config", "/dev/null"]],
    ids=" ".join,
)  # fmt: skip
def test_a_folder_that_was_removed_changes_nothing(
    line: list[str], removed: Removed, environment: dict[str, str], daemon: FakeDaemon
) -> None:
    daemon.scripts = [[{**NOTIFICATION}], [{**NOTIFICATION}]]
    there = ended(words("mailbell", *line), environment)
    done = removed("mailbell", *line)
    assert (done.returncode, done.stdout) == (there.returncode, there.stdout)
    assert done.stderr == there.stderr


NOTIFICATION = {
    "account": "default", "cause": "manual", "count": 1, "transport": None, "source": None,
    "time": 1_700_000_000_000_000,
}  # fmt: skip


@pytest.mark.parametrize(
    ("line", "named"),
    [
        (["run", "--", "./fetch"], "./fetch"),
        (["run", "--config", "agent.toml"], "agent.toml"),
        (["run", "--install-unit", "--yes", "--socket", "here", "--", "true"], "here"),
        (["check", "--config", "mailbelld.toml"], "mailbelld.toml"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_looked_for_in_a_folder_that_was_removed_is_named(
    line: list[str], named: str, removed: Removed
) -> None:
    done = removed("mailbell", *line)
    assert done.returncode in {71, 78}
    said = done.stdout + done.stderr
    assert named in said
    assert "Traceback" not in said


def test_the_daemon_starts_in_a_folder_that_was_removed(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    script = f'cd {shlex.quote(str(folder))} && rmdir "$PWD" && exec "$@"'
    toml = configuration(tmp_path)
    with started(tmp_path, toml, command=["sh", "-c", script, "sh"]) as daemon:
        if os.geteuid() == 0:  # the locked daemon is undumpable: no other user may look
            assert os.readlink(f"/proc/{daemon.pid}/cwd").endswith(" (deleted)")
        ring(daemon.endpoint())
        until(lambda: daemon.counted() == {"accepted": 1})


# Runs a program without standard streams, and prints what has their numbers when ctypes is
# imported. ctypes of Python 3.14 opens a file, which would take one of the numbers.
WITHOUT_STREAMS = """
import os, runpy, sys
said = os.dup(1)
os.closerange(0, 3)
class Watch:
    def find_spec(self, name, path=None, target=None):
        if name == "ctypes":
            links = [os.readlink(f"/proc/self/fd/{number}") for number in range(3)]
            os.write(said, " ".join(links).encode())
sys.meta_path.insert(0, Watch())
DOOR
"""
# The console scripts, and the modules that can be run.
DOORS = {
    "mailbelld": "from mailbell.cli.mailbelld import main; main()",
    "mailbell-sender": "from mailbell.cli.mailbell_sender import main; main()",
    "mailbell": "from mailbell.cli import main; main()",
    "python -m mailbell": "runpy.run_module('mailbell', run_name='__main__', alter_sys=True)",
    **{
        f"python -m {name}": f"runpy.run_module('{name}', run_name='__main__', alter_sys=True)"
        for name in ("mailbell.cli.mailbelld", "mailbell.cli.mailbell_sender")
    },
}
# What loads ctypes. It need not come far.
WORDS = {
    "mailbell": ("run", "--no-on-start", "--", "/nonexistent"),
    "python -m mailbell": ("check", "--config", "/dev/null"),
}


@pytest.mark.parametrize("door", DOORS)
def test_missing_streams_are_filled_before_anything_else_is_opened(door: str) -> None:
    script = WITHOUT_STREAMS.replace("DOOR", DOORS[door])
    done = subprocess.run(
        [sys.executable, "-c", script, *WORDS.get(door, ("--version",))],
        check=False, stdout=subprocess.PIPE, text=True, timeout=30,
    )  # fmt: skip
    assert done.stdout.split() == ["/dev/null"] * 3


def test_every_console_script_is_tried_without_standard_streams() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())
    assert set(project["project"]["scripts"]) <= set(DOORS)
