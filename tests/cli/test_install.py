"""`mailbell install` and `mailbell uninstall`, as root and as an ordinary user.

The folder of the machine's add-ons is below /usr/share. The tests put an empty file system in
its place, which only the commands see.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cli.support import Run, words
from harness.ordinary import as_nobody, let_in
from harness.sender import PATIENCE

import mailbell
from mailbell.addon.place import FOLDER, MARK, NAME
from mailbell.addon.sources import addon

PATH = f"{FOLDER}/{NAME}"
FOLDERS = ["/usr/share/mozilla", "/usr/share/mozilla/extensions", FOLDER]
# Every file below the folder, with its kind, its mode and its owner, after a line of "--".
LIST = "echo --; find /usr/share -mindepth 1 -printf '%y %m %U:%G %p\\n' | sort -k 4"

Inside = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="module")
def package() -> Iterator[Path]:
    """A copy of mailbell that only this user may change, whatever the folder of the tests is."""
    top = Path(tempfile.mkdtemp(prefix="mailbell-", dir="/tmp"))
    installed = Path(mailbell.__file__).parent
    shutil.copytree(installed, top / "mailbell", ignore=shutil.ignore_patterns("__pycache__"))
    for path in (top, *top.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    yield top
    shutil.rmtree(top)


@pytest.fixture
def inside(package: Path) -> Inside:
    """Runs a script as root where /usr/share is empty. "$@" is `mailbell`."""
    user = ["unshare", "-m"] if os.geteuid() == 0 else ["unshare", "-r", "-m"]
    if subprocess.run([*user, "true"], capture_output=True, check=False).returncode:
        pytest.skip("needs root, or a user namespace, which this system does not grant")

    def run(
        script: str, options: str = "", package: Path = package
    ) -> "subprocess.CompletedProcess[str]":
        mount = f"mount -t tmpfs -o mode=755{options} none /usr/share"
        return subprocess.run(
            [*user, "sh", "-c", f"{mount} && {{ {script}\n}}; {LIST}", "sh", *words("mailbell")],
            capture_output=True, text=True, timeout=PATIENCE, check=False,
            env=os.environ | {"PYTHONPATH": str(package)},
        )  # fmt: skip

    return run


def test_root_installs_it_for_all_users_and_undoes_it(inside: Inside, tmp_path: Path) -> None:
    script = f"""
      umask 077
      "$@" install --thunderbird --dry-run && echo == && find /usr/share -mindepth 1
      "$@" install --thunderbird && echo == && cp {PATH} {tmp_path}/first && {LIST}
      echo ==; "$@" install --thunderbird
      echo ==; "$@" uninstall --thunderbird --dry-run
      echo ==; "$@" uninstall --thunderbird
      echo ==; "$@" uninstall --thunderbird
    """
    done = inside(script)
    assert done.stderr == ""
    dry, first, there, second, dry_removed, removed, nothing = done.stdout.split("==\n")
    made = [*(f"make {folder}" for folder in FOLDERS), f"write {PATH}"]
    assert dry.splitlines()[:4] == first.splitlines()[:4] == made
    assert "This was a dry run: nothing has changed. To do it, run it without --dry-run." in dry
    assert "usermod --append --groups mailbell NAME" in first
    assert there.splitlines() == [
        "--",
        f"d 755 0:0 {FOLDERS[0]}",
        f"f 600 0:0 {FOLDERS[0]}/{MARK}",
        f"d 755 0:0 {FOLDERS[1]}",
        f"f 600 0:0 {FOLDERS[1]}/{MARK}",
        f"d 755 0:0 {FOLDERS[2]}",
        f"f 600 0:0 {FOLDERS[2]}/{MARK}",
        f"f 644 0:0 {PATH}",
    ]
    assert (tmp_path / "first").read_bytes() == addon()
    assert second.startswith(f"{PATH} is in place already\n")
    undone = [f"remove {PATH}", *(f"remove {folder}" for folder in reversed(FOLDERS))]
    assert dry_removed.splitlines()[:4] == removed.splitlines()[:4] == undone
    assert "This was a dry run" in dry_removed
    assert "Add-ons and Themes" in removed
    assert nothing == f"{PATH} is not there: nothing to remove\n--\n"


@pytest.mark.parametrize("inodes", range(2, 9))
def test_a_full_file_system_has_all_of_it_or_nothing(inside: Inside, inodes: int) -> None:
    """Each folder, each mark and the file take one; so it is full at each of the steps."""
    done = inside('"$@" install --thunderbird', f",nr_inodes={inodes}")
    if inodes < 8:
        assert done.stdout.endswith("\n--\n")
        assert "No space left on device; make room there, and try again" in done.stderr
    else:
        assert done.stderr == ""
        assert f" {PATH}\n" in done.stdout


def test_a_file_system_with_no_room_for_its_bytes_has_nothing(inside: Inside) -> None:
    done = inside('"$@" install --thunderbird', ",size=4k")
    assert done.stdout.endswith("\n--\n")
    assert done.stderr == (
        f"mailbell: {PATH}: No space left on device; make room there, and try again\n"
    )


def test_a_file_system_that_is_only_read_is_named(inside: Inside) -> None:
    done = inside('"$@" install --thunderbird; echo $?', ",ro")
    assert done.stdout.endswith("\n71\n--\n")
    assert done.stderr.endswith(
        "mozilla: Read-only file system; make the file system writable, and try again\n"
    )


def test_root_does_not_install_what_an_ordinary_user_may_change(
    inside: Inside, package: Path, tmp_path: Path
) -> None:
    """As `sudo .venv/bin/mailbell install` in the home of a user. `--file` may be used there."""
    weak = tmp_path / "venv"
    shutil.copytree(package, weak)
    weak.chmod(0o777)
    done = inside('"$@" install --thunderbird; echo $?', package=weak)
    assert done.stdout == "78\n--\n"
    assert done.stderr.startswith("mailbell: ")
    assert done.stderr.endswith(
        "who could change the add-on before all users get it; install mailbell in a folder that "
        "only root may change, such as /opt/mailbell, and run the mailbell that is there\n"
    )
    done = inside(f'"$@" install --thunderbird --file {tmp_path}/x.xpi', package=weak)
    assert (done.stderr, (tmp_path / "x.xpi").read_bytes()) == ("", addon())


@pytest.fixture
def ordinary(tmp_path: Path, package: Path) -> Run:
    """Runs `mailbell` as an ordinary user in a folder of that user."""
    home = tmp_path / "home"
    home.mkdir()
    let_in(home)
    before: list[str] = []
    if os.geteuid() == 0:
        hold = tmp_path / "hold"
        hold.mkdir()
        before = as_nobody(hold)
        os.chown(home, 65534, 65534)

    def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [*before, *words("mailbell", *arguments)], cwd=home, timeout=PATIENCE,
            capture_output=True, text=True, check=False,
            env=os.environ | {"HOME": str(home), "PYTHONPATH": str(package)},
        )  # fmt: skip

    return run


def test_another_user_is_told_what_to_do_instead(ordinary: Run) -> None:
    done = ordinary("install", "--thunderbird")
    assert (done.returncode, done.stdout) == (77, "")
    assert done.stderr == (
        "mailbell: only root may install the add-on for all users; run this as root, or, for "
        "your own profile: mailbell install --thunderbird --file mailbell.xpi\n"
    )
    done = ordinary("uninstall", "--thunderbird")
    assert (done.returncode, done.stdout) == (77, "")
    assert done.stderr == (
        "mailbell: only root may remove the add-on for all users; run this as root\n"
    )


def test_another_user_may_look_at_the_steps(ordinary: Run) -> None:
    for command in ("install", "uninstall"):
        done = ordinary(command, "--thunderbird", "--dry-run")
        assert (done.returncode, done.stderr) == (0, "")
        assert PATH in done.stdout
        assert "run it as root" in done.stdout


def test_anybody_gets_it_as_a_file(ordinary: Run, tmp_path: Path) -> None:
    dry = ordinary("install", "--thunderbird", "--file", "mailbell.xpi", "--dry-run")
    path = tmp_path / "home/mailbell.xpi"
    assert (dry.returncode, path.exists()) == (0, False)
    done = ordinary("install", "--thunderbird", "--file", "mailbell.xpi")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"write {path}\n")
    assert '"Install Add-on From File"' in done.stdout
    assert path.read_bytes() == addon()


def test_a_step_does_not_obey_the_name_of_a_folder(ordinary: Run, tmp_path: Path) -> None:
    (tmp_path / "home/a\x1b]0;b\x07c").mkdir(mode=0o755)
    path = "a\x1b]0;b\x07c/mailbell.xpi"
    done = ordinary("install", "--thunderbird", "--file", path, "--dry-run")
    assert done.returncode == 0
    assert done.stdout.startswith(f"write {tmp_path}/home/a\\x1b]0;b\\x07c/mailbell.xpi\n")
    assert done.stdout.replace("\n", "").isprintable()


@pytest.mark.parametrize(
    ("words", "why"),
    [
        ("install --file x.xpi", "--file is for the add-on; give --thunderbird too"),
        ("install --thunderbird --sender", "--thunderbird installs no service"),
        ("install --thunderbird --user joe", "--thunderbird installs no service"),
        ("install --thunderbird --listener", "--thunderbird installs no service"),
    ],
)
def test_options_that_do_not_belong_together_are_refused(run: Run, words: str, why: str) -> None:
    result = run("mailbell", *words.split())
    assert (result.returncode, result.stdout) == (64, "")
    assert why in result.stderr


def test_the_file_is_the_one_that_make_builds(run: Run, tmp_path: Path) -> None:
    root = Path(__file__).parents[2]
    subprocess.run(
        ["make", "--silent", "xpi", f"PYTHON={sys.executable}", f"XPI={tmp_path}/made.xpi"],
        cwd=root, check=True, timeout=PATIENCE,
    )  # fmt: skip
    result = run("mailbell", "install", "--thunderbird", "--file", f"{tmp_path}/installed.xpi")
    assert (result.returncode, result.stderr) == (0, "")
    assert (tmp_path / "installed.xpi").read_bytes() == (tmp_path / "made.xpi").read_bytes()
