"""`.ci/run` and its stages. The stages themselves are not run here."""

import importlib.util
import os
import re
import select
import shutil
import signal
import subprocess
import sys
import tomllib
from itertools import chain
from pathlib import Path
from typing import Any

import pytest

from scripts import floors

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())

STAGES = """\
stage-first() {
  echo "in $PWD, every=$every"
}

stage-second.2() {
  exit "$NOT_NEEDED"
}

stage-breaks() {
  helper
  echo "what comes after a failure is not run"
}

stage-last() {
  echo "the last"
}

helper() {
  false
}
"""


def run(root: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [root / ".ci" / "run", *words],
        cwd="/",
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project with the real runner, and with stages that do nothing."""
    (tmp_path / ".ci").mkdir()
    shutil.copy(ROOT / ".ci" / "run", tmp_path / ".ci")
    (tmp_path / ".ci" / "stages").write_text(STAGES)
    return tmp_path


def test_all_stages_run_in_order_until_one_fails(project: Path) -> None:
    done = run(project)
    assert done.returncode == 1
    assert re.sub(r"\d+ s", "N s", done.stdout).splitlines() == [
        "== first",
        f"in {project}, every=yes",
        "== first: passed, N s",
        "== second.2",
        "== second.2: not needed, N s",
        "== breaks",
        "== breaks: FAILED (1), N s",
        "",
        "first               N s  passed",
        "second.2            N s  not needed",
        "breaks              N s  FAILED (1)",
        "total               N s",
    ]
    assert done.stderr == '.ci/run: the stage "breaks" failed\n'


def test_stages_run_alone_and_in_the_order_given(project: Path) -> None:
    done = run(project, "last", "first")
    assert (done.returncode, done.stderr) == (0, "")
    said = [line for line in done.stdout.splitlines() if not line.startswith("==")]
    assert said[:2] == ["the last", f"in {project}, every="]


def test_an_unknown_stage_is_refused_before_anything_is_run(project: Path) -> None:
    done = run(project, "first", "frist")
    assert (done.returncode, done.stdout) == (64, "")
    assert done.stderr == (
        '.ci/run: no stage "frist"; the stages are: first second.2 breaks last\n'
    )


def stages() -> list[str]:
    return run(ROOT, "?").stderr.partition("the stages are: ")[2].split()


def test_the_project_is_installed_first_and_checked_before_it_is_tested() -> None:
    assert stages()[:3] == ["install", "lint", "test"]
    assert {"floors", "newest"} < set(stages())


def test_each_supported_python_has_a_stage() -> None:
    found = [
        text.removeprefix("Programming Language :: Python :: ")
        for text in PROJECT["project"]["classifiers"]
        if re.search(r":: Python :: 3\.", text)
    ]
    assert [name for name in stages() if name.startswith("python-")] == [
        f"python-{version}" for version in found
    ]


def test_the_stages_know_the_supported_pythons_the_oldest_first() -> None:
    done = subprocess.run(
        ["bash", "-c", "set -euo pipefail; . .ci/stages; supported; installed_pythons"],
        cwd=ROOT, capture_output=True, text=True, check=True, env=os.environ,
    )  # fmt: skip
    versions = [name.removeprefix("python-") for name in stages() if name.startswith("python-")]
    assert done.stdout.splitlines()[: len(versions)] == versions
    assert len(done.stdout.splitlines()) > len(versions), "not one of them is installed"


@pytest.mark.parametrize(
    ("installed", "default", "chosen"),
    [
        (["3.11", "3.12", "3.13", "3.14"], "3.11", "3.12"),
        (["3.11", "3.12", "3.13"], "3.13", "3.11"),
        (["3.11", "3.13"], "3.11", "3.11"),
        (["3.13"], "3.13", "3.13"),
    ],
)
def test_the_floors_have_a_python_that_no_other_stage_has(
    installed: list[str], default: str, chosen: str, tmp_path: Path
) -> None:
    for name in (*installed, "3"):
        program = tmp_path / f"python{name}"
        version = default if name == "3" else name
        program.write_text(f"#!/bin/sh\n[ $1 != -V ] || echo {version}\n")
        program.chmod(0o755)
    for name in ("bash", "sed", "sh", "sort"):
        (tmp_path / name).symlink_to(shutil.which(name) or "")
    done = subprocess.run(
        ["bash", "-c", "set -euo pipefail; . .ci/stages; floors_python"],
        cwd=ROOT, capture_output=True, text=True, check=True,
        env={"PATH": str(tmp_path), "PYENV_ROOT": "/none"},
    )  # fmt: skip
    assert done.stdout == f"python{chosen}\n"


def _conftest() -> Any:
    where = Path(__file__).with_name("conftest.py")
    spec = importlib.util.spec_from_file_location("conftest_read_again", where)
    assert spec is not None
    assert spec.loader is not None
    conftest = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(conftest)
    return conftest


def test_a_file_that_is_tested_once_is_there() -> None:
    conftest = _conftest()
    for name in conftest.ONCE | conftest.NOT_ONCE | conftest.ASIDE:
        assert (Path(__file__).parent / name).exists(), name


def test_what_make_test_leaves_out_has_a_stage() -> None:
    """A file has one if it is named, or the folder that it is in."""
    marked = r"^(pytestmark = |@)pytest\.mark\.long$|marks=pytest\.mark\.long\b"
    long = [
        file.relative_to(ROOT)
        for file in ROOT.glob("tests/**/test_*.py")
        if re.search(marked, file.read_text(), re.MULTILINE)
    ]
    assert len(long) > 8
    named = set(re.findall(r"tests/[\w./]+", (ROOT / ".ci" / "stages").read_text()))
    assert [file for file in long if not named & {str(file), str(file.parent)}] == []


def test_what_make_test_leaves_out_of_a_folder_has_a_stage() -> None:
    lines = (ROOT / ".ci" / "stages").read_text().splitlines()
    for folder in _conftest().ASIDE:
        assert any("aside" in line and f"tests/{folder}" in line for line in lines), folder


def test_every_dependency_has_its_floor() -> None:
    wanted = [
        *PROJECT["project"]["dependencies"],
        *chain.from_iterable(PROJECT["project"]["optional-dependencies"].values()),
        *PROJECT["build-system"]["requires"],
    ]
    found = floors_of()
    assert {re.split(r"[\[>]", one)[0] for one in wanted} == found.keys()
    assert all(found[name] == version for name, version in map(split, set(wanted) - OF_AN_EXTRA))
    programs = PROJECT["project"]["dependencies"]
    assert floors_of("--programs") == dict(map(split, programs))
    assert floors_of("--programs")["trio"] != found["trio"]


OF_AN_EXTRA = {one for one in PROJECT["project"]["dependencies"] if one.startswith("trio>=")}


def split(requirement: str) -> tuple[str, str]:
    name, _, version = requirement.partition(">=")
    return name.partition("[")[0], version


def floors_of(*words: str) -> dict[str, str]:
    done = subprocess.run(
        [sys.executable, "scripts/floors.py", *words],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    lines = done.stdout.splitlines()
    found = dict(line.split("==") for line in lines)
    assert len(found) == len(lines)
    return {name.partition("[")[0]: version for name, version in found.items()}


def test_of_several_floors_the_highest_counts() -> None:
    wanted = ["trio>=0.9", "anyio>=4", "trio>=0.31", "trio>=0.27"]
    assert floors.floors(wanted) == ["trio==0.31", "anyio==4"]


@pytest.mark.parametrize(
    ("requirement", "constraint"),
    [
        ("trio>=0.27", "trio==0.27"),
        ("prometheus-client >= 0.20.1", "prometheus-client==0.20.1"),
        ("coredis[recipes]>=4", "coredis==4"),
    ],
)
def test_a_floor_is_the_oldest_version(requirement: str, constraint: str) -> None:
    assert floors.floor(requirement) == constraint


@pytest.mark.parametrize(
    "requirement", ["trio", "trio==1", "trio>=1,<2", "trio>1", "trio>=1; python_version < '4'", ""]
)
def test_a_requirement_without_one_plain_floor_is_refused(requirement: str) -> None:
    with pytest.raises(ValueError, match="must be NAME>=VERSION and nothing else"):
        floors.floor(requirement)


def test_the_script_names_the_requirement_it_refuses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    project = tmp_path / "pyproject.toml"
    project.write_text(
        '[build-system]\nrequires = []\n[project]\ndependencies = ["trio"]\n'
        "[project.optional-dependencies]\n"
    )
    monkeypatch.setattr(floors, "PROJECT", project)
    assert floors.main([]) == 65
    assert capsys.readouterr().err == (
        'floors: pyproject.toml: "trio" must be NAME>=VERSION and nothing else\n'
    )


@pytest.fixture
def another_root(tmp_path: Path) -> list[str]:
    """The beginning of a command that runs the rest in another root, with this /usr and /etc."""
    if os.geteuid() != 0:
        pytest.skip("another root directory needs root")
    root = tmp_path / "root"
    for name in ("etc", "proc", "run", "tmp", "usr"):
        (root / name).mkdir(parents=True)
    for name in ("bin", "lib", "lib64", "sbin"):
        (root / name).symlink_to(f"usr/{name}")
    script = 'for name in usr etc; do mount --bind /$name "$0/$name"; done; exec "$@"'
    enter = str(ROOT / ".ci" / "enter")
    return ["unshare", "--mount", "sh", "-ec", script, str(root), enter, str(root)]


@pytest.mark.once
def test_in_another_root_the_project_and_the_files_of_pip_are_there(
    another_root: list[str], tmp_path: Path
) -> None:
    named = {name: tmp_path / name for name in ("wheels", "certificates", "constraints", "index")}
    for path in named.values():
        path.mkdir()
    pip = tmp_path / "home" / ".config" / "pip"
    pip.mkdir(parents=True)
    constraints, index = (named[name] for name in ("constraints", "index"))
    (pip / "pip.conf").write_text(
        f"[global]\nconstraint = {constraints}\nextra-index-url = file://{index}/simple\n"
    )
    (index / "beside").touch()
    looks = (
        'ls -d "$@"; test -e "$PIP_CERT"; test -e "$HOME/.config/pip/pip.conf"; pwd; ls Makefile;'
        "unshare --mount true; setpriv --reuid=65534 --clear-groups cat Makefile >/dev/null"
    )
    shown = [*map(str, named.values()), f"{index}/beside"]
    done = subprocess.run(
        [*another_root, "sh", "-ec", looks, "sh", *shown],
        env={
            **os.environ, "HOME": str(tmp_path / "home"), "PIP_CERT": str(named["certificates"]),
            "PIP_FIND_LINKS": f"https://mirror.example/ {named['wheels']}",
        },
        capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    assert done.stdout.splitlines() == [*sorted(shown), "/srv/mailbell", "Makefile"]


@pytest.mark.once
def test_what_pip_names_does_not_replace_the_system_of_another_root(
    another_root: list[str], tmp_path: Path
) -> None:
    """A comment names nothing, and of the system no folder is shared but certificates."""
    named = {name: tmp_path / name for name in ("wheels", "commented")}
    for path in named.values():
        path.mkdir()
    pip = tmp_path / "home" / ".config" / "pip"
    pip.mkdir(parents=True)
    (pip / "pip.conf").write_text(
        f"# see {named['commented']}\n ; {named['commented']}\n[global]\n"
        f"find-links = {named['wheels']} /usr/share/ //usr/lib /usr/../etc /home /tmp\n"
        "cert = /usr/lib\npython = /usr/bin/env\n"
    )
    looks = (
        'grep -oE "^[^ ]+ [^ ]+" /proc/mounts | cut -d" " -f2; ! touch "$0/x" "$1/x" 2>/dev/null'
    )
    done = subprocess.run(
        [*another_root, "sh", "-ec", looks, named["wheels"], pip],
        env={**os.environ, "HOME": str(tmp_path / "home"), "PIP_CERT": "/usr", "PIP_X": "/etc"},
        capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    mounts = done.stdout.splitlines()
    assert {str(named["wheels"]), str(pip), "/usr", "/etc"} <= set(mounts)
    assert (mounts.count("/usr"), mounts.count("/etc"), mounts.count("/tmp")) == (1, 1, 1)
    assert {str(named["commented"]), "/usr/share", "/usr/lib", "/home", "/usr/bin/env"}.isdisjoint(
        mounts
    )


@pytest.mark.once
@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGHUP, 129), (signal.SIGKILL, -9)],
)
def test_a_signal_ends_all_that_runs_in_another_root(
    another_root: list[str], tmp_path: Path, number: signal.Signals, code: int
) -> None:
    fifo = tmp_path / "root" / "left"
    (tmp_path / "root" / "srv").mkdir()
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    os.set_blocking(reader, True)
    script = "setsid sh -c 'exec 3>/left; echo >&3; exec sleep 600' & sleep 600"
    with subprocess.Popen([*another_root, "bash", "-c", script]) as process:
        keeper = os.open(fifo, os.O_WRONLY)  # without a writer the first read would not wait
        assert os.read(reader, 1) == b"\n"
        os.close(keeper)
        process.send_signal(number)
        try:
            assert process.wait(20) == code
        finally:
            process.kill()
    assert select.select([reader], [], [], 20)[0], "the process in the background lives"
    assert os.read(reader, 1) == b""
    os.close(reader)


@pytest.mark.once
def test_a_command_in_another_root_is_ended_by_ctrl_c_and_reads_what_it_is_given(
    another_root: list[str], tmp_path: Path
) -> None:
    (tmp_path / "root" / "srv").mkdir()
    script = "cat; for one in INT QUIT TERM; do sh -c 'kill -$0 $$' $one; echo $?; done"
    done = subprocess.run(
        [*another_root, "bash", "-c", script],
        input="given\n", capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    assert done.stdout.splitlines() == ["given", "130", "131", "143"]


@pytest.mark.once
def test_the_first_process_of_a_container_gets_mounts_of_its_own_too(
    another_root: list[str], tmp_path: Path
) -> None:
    (tmp_path / "root" / "srv").mkdir()
    *before, _ = another_root[: another_root.index("-ec") + 2]
    script, rest = another_root[len(before)], another_root[len(before) + 1 :]
    looks = "readlink /proc/self/ns/mnt"
    container = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"]
    done = subprocess.run(
        [*container, *before, f"{looks}; {script}", *rest, *looks.split()],
        capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    outside, inside = done.stdout.splitlines()
    assert outside != inside


@pytest.mark.once
def test_of_another_root_nothing_is_left_and_its_exit_code_counts(
    another_root: list[str], tmp_path: Path
) -> None:
    def mounts() -> list[str]:
        return [line for line in Path("/proc/mounts").read_text().splitlines() if "/root/" in line]

    before = mounts()
    (tmp_path / "root" / "srv").mkdir()
    fifo = tmp_path / "root" / "left"
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    # The process in the background holds the pipe open until it is killed.
    script = "setsid sh -c 'exec 3>/left; echo >&3; exec sleep 600' & read line </left; exit 3"
    done = subprocess.run([*another_root, "bash", "-c", script], check=False, timeout=60)
    assert done.returncode == 3
    # With a writer left this raises BlockingIOError.
    assert os.read(reader, 1) == b"", "the process in the background lives"
    os.close(reader)
    assert mounts() == before
