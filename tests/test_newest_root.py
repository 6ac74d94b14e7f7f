"""`.ci/newest-root`, with an apt and an mmdebstrap that fetch nothing."""

import fcntl
import os
import shutil
import stat
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
pytestmark = pytest.mark.once

# Each call is a line of the file `calls`. It ends when the file `go` can be read.
MMDEBSTRAP = """\
#!/bin/bash -e
for root; do [[ $root = *.cache/* ]] && break; done
cd "${0%/*}"
stat -c "made below mode %a" "${root%/*}" >>calls
cat go >/dev/null
mkdir -p "$root"/{bin,etc/pam.d,usr/bin,usr/share/{base-passwd,libc-bin,doc},var/run}
touch "$root"/usr/share/{base-passwd/{passwd,group}.master,libc-bin/nsswitch.conf}
touch "$root/etc/ld.so.conf"
touch "$root"/usr/bin/{su,wall}
chmod 4755 "$root/usr/bin/su"
chmod 2755 "$root/usr/bin/wall"
"""
APT = """\
#!/bin/sh -e
[ "$1" = update ] || echo "$MIRRORS"
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    if os.geteuid() != 0:
        pytest.skip("a root of another Debian needs root")
    (tmp_path / ".ci").mkdir()
    shutil.copy(ROOT / ".ci" / "newest-root", tmp_path / ".ci")
    for name, text in (("mmdebstrap", MMDEBSTRAP), ("apt-get", APT)):
        path = tmp_path / "bin" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        path.chmod(0o755)
    (tmp_path / "bin" / "go").touch()
    return tmp_path


def start(
    project: Path, mirrors: str = "http://other/x\nhttp://some/debian/"
) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [project / ".ci" / "newest-root"],
        env={**os.environ, "PATH": f"{project}/bin:{os.environ['PATH']}", "MIRRORS": mirrors},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True,
    )  # fmt: skip


def made(process: "subprocess.Popen[str]") -> Path:
    said, error = process.communicate(timeout=60)
    assert (process.returncode, error) == (0, "")
    return Path(said.removesuffix("\n"))


def test_no_program_in_it_gives_an_ordinary_user_the_rights_of_root(project: Path) -> None:
    """These get no update, and lie where every user of this host can run them."""
    root = made(start(project))
    special = [
        path.name
        for path in root.rglob("*")
        if path.is_file() and path.stat().st_mode & (stat.S_ISUID | stat.S_ISGID)
    ]
    assert (root / "usr/bin/su").exists()
    assert special == []
    assert stat.S_IMODE(root.stat().st_mode) == 0o755
    assert (project / "bin/calls").read_text() == "made below mode 700\n"
    assert sorted(path.name for path in root.parent.iterdir()) == [root.name, "newest.lock"]


def test_of_two_at_a_time_one_makes_it(project: Path) -> None:
    (project / "bin" / "go").unlink()
    os.mkfifo(project / "bin" / "go")
    first = start(project)
    with (project / "bin" / "go").open("w"):  # mmdebstrap waits
        second = start(project)
    assert made(first) == made(second)
    assert len((project / "bin/calls").read_text().splitlines()) == 1


def test_one_that_is_in_use_is_not_removed(project: Path) -> None:
    """`.ci/enter` locks it."""
    used, left = (project / ".cache" / f"newest-{name}" for name in ("used", "left"))
    for path in (used, left):
        path.mkdir(parents=True)
    descriptor = os.open(used, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_SH)
    made(start(project))
    assert (used.exists(), left.exists()) == (True, False)
    os.close(descriptor)


def test_an_apt_without_debian_has_a_message(project: Path) -> None:
    process = start(project, "http://other/ubuntu/")
    _, error = process.communicate(timeout=60)
    assert process.returncode == 69
    assert error == ".ci/newest-root: apt has no mirror whose address ends with /debian\n"
    assert not (project / "bin/calls").exists()


def test_enter_locks_the_root_that_is_in_use(project: Path) -> None:
    (project / "root").mkdir()
    descriptor = os.open(project / "root", os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    done = subprocess.run(
        [ROOT / ".ci" / "enter", project / "root", "true"],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (75, f".ci/enter: {project}/root is being removed\n")
    os.close(descriptor)
