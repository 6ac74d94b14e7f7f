"""`make install` of the module for Evolution, with a compiler that writes what it was asked.

The real compiler and the real Evolution are in tests/mail_programs/test_evolution.py.
"""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from harness.ordinary import NOBODY
from harness.sender import PATIENCE

SOURCES = Path(__file__).parents[2] / "clients/evolution"
MODULE = "module-mailbell.so"
# It writes the version of Evolution that is "installed", and what the folder of the result is.
COMPILER = """#!/bin/sh
while [ "$1" != -o ]; do shift; done
test -e "{top}/broken" && exit 1
cat "{top}/version" > "$2"
cd "$(dirname "$2")" && stat -c '%a %u' . > "{top}/seen" && echo "$PWD $TMPDIR" >> "{top}/seen"
"""

Make = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def top() -> Iterator[Path]:
    """A folder that only this user may change, with a copy of the sources and a compiler."""
    top = Path(tempfile.mkdtemp(prefix="mailbell-", dir="/tmp"))
    top.chmod(0o755)
    (top / "evolution").mkdir(mode=0o755)
    for name in ("Makefile", "module-mailbell.c"):
        shutil.copyfile(SOURCES / name, top / "evolution" / name)
        (top / "evolution" / name).chmod(0o644)
    (top / "cc").write_text(COMPILER.format(top=top))
    (top / "cc").chmod(0o755)
    (top / "version").write_text("3.46")
    (top / "here").mkdir()
    yield top
    shutil.rmtree(top)


@pytest.fixture
def make(top: Path) -> Make:
    def make(*words: str, before: tuple[str, ...] = ()) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [*before, "make", "--no-print-directory", "-f", top / "evolution/Makefile",
             f"CC={top}/cc", "PKG_CONFIG=true",
             f"MODULES={top}/modules", *words],
            cwd=top / "here", capture_output=True, text=True, timeout=PATIENCE, check=False,
        )  # fmt: skip

    return make


def installed(top: Path) -> str:
    return (top / "modules" / MODULE).read_text()


def test_what_lies_in_the_current_folder_is_not_installed(top: Path, make: Make) -> None:
    (top / "here" / MODULE).write_text("planted")
    os.utime(top / "here" / MODULE, (2**32, 2**32))
    assert make("install").returncode == 0
    assert installed(top) == "3.46"
    assert ((top / "modules" / MODULE).stat().st_mode & 0o7777) == 0o644
    assert (top / "here" / MODULE).read_text() == "planted"


@pytest.mark.parametrize("words", [["install"], ["all", "install"]])
def test_after_an_update_of_evolution_it_is_built_again(
    top: Path, make: Make, words: list[str]
) -> None:
    make(*words)
    (top / "version").write_text("3.48")
    assert make(*words).returncode == 0
    assert installed(top) == "3.48"


def test_also_the_one_in_the_current_folder_is_built_again(top: Path, make: Make) -> None:
    (top / "here" / MODULE).write_text("planted")
    os.utime(top / "here" / MODULE, (2**32, 2**32))
    assert make().returncode == 0
    assert (top / "here" / MODULE).read_text() == "3.46"


def test_it_is_built_where_nobody_else_may_write_and_leaves_nothing(top: Path, make: Make) -> None:
    assert make("install").returncode == 0
    mode, folder = (top / "seen").read_text().splitlines()
    assert mode == f"700 {os.geteuid()}"
    place, temporary = folder.split()
    assert place == temporary
    assert not Path(place).exists()
    assert os.listdir(top / "here") == []


def test_one_that_cannot_be_built_replaces_nothing(top: Path, make: Make) -> None:
    make("install")
    (top / "broken").touch()
    (top / "here" / MODULE).write_text("planted")
    assert make("install").returncode == 2
    assert installed(top) == "3.46"


def open_source(top: Path) -> str:
    (top / "evolution/module-mailbell.c").chmod(0o666)
    return f"{top}/evolution/module-mailbell.c"


def open_makefile(top: Path) -> str:
    (top / "evolution/Makefile").chmod(0o664)
    return f"{top}/evolution/Makefile"


def open_folder(top: Path) -> str:
    top.chmod(0o775)
    return str(top)


def folder_of_another(top: Path) -> str:
    os.chown(top / "evolution", NOBODY, NOBODY)
    return f"{top}/evolution"


@pytest.mark.parametrize("attack", [open_source, open_makefile, open_folder, folder_of_another])
def test_root_installs_only_what_no_other_user_may_change(
    top: Path, make: Make, attack: Callable[[Path], str]
) -> None:
    if os.geteuid() == 0:
        before: tuple[str, ...] = ()
    elif attack is folder_of_another:
        pytest.skip("only root can give a file to another user")
    else:
        before = ("unshare", "-r")
        if subprocess.run([*before, "true"], capture_output=True, check=False).returncode:
            pytest.skip("needs root, or a user namespace, which this system does not grant")
    weak = attack(top)
    done = make("install", before=before)
    assert done.returncode == 2
    assert f"another user may change {weak}: copy the folder evolution" in done.stderr
    assert not (top / "modules").exists()
    # The maker of a package, and a user who is not root, install it for nobody else.
    assert make("install", f"DESTDIR={top}/package", before=before).returncode == 0
    assert (top / "package" / str(top)[1:] / "modules" / MODULE).read_text() == "3.46"


def test_uninstall_removes_it_and_says_what_it_needs_to_know_where_it_is(
    top: Path, make: Make
) -> None:
    make("install")
    assert make("uninstall").returncode == 0
    assert not (top / "modules" / MODULE).exists()
    # Without the packages to build it, nothing tells where Evolution looks for modules.
    done = make("uninstall", "MODULES=")
    assert (done.returncode, done.stdout) == (2, "")
    first, _ = done.stderr.splitlines()
    assert first.startswith("evolution-dev is not installed, so name the folder: MODULES=/")
