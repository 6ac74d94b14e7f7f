"""`make dist`: the same bytes wherever and whenever it is built, and nothing is missing."""

import os
import random
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from scripts import dist

ROOT = Path(__file__).resolve().parents[1]
PATIENCE = 60

pytestmark = pytest.mark.once


def built(tree: Path, out: Path, umask: int = 0o022, **environ: str) -> dict[str, bytes]:
    """Run what `make dist` runs in a tree; return the content of each file."""
    done = subprocess.run(
        [sys.executable, "scripts/dist.py", out],
        cwd=tree, check=True, timeout=PATIENCE, umask=umask, capture_output=True, text=True,
        env={"PATH": os.environ["PATH"], **environ},
    )  # fmt: skip
    files = {path.name: path.read_bytes() for path in out.iterdir()}
    assert [line.split()[1] for line in done.stdout.splitlines()] == [
        str(out / name) for name in sorted(files)
    ]
    return files


def unpacked(files: dict[str, bytes], folder: Path) -> Path:
    """Unpack the source distribution, as a person does it."""
    (name,) = (name for name in files if name.endswith(".tar.gz"))
    folder.mkdir()
    (folder / name).write_bytes(files[name])
    subprocess.run(["tar", "xf", name], cwd=folder, check=True, timeout=PATIENCE)
    return folder / name.removesuffix(".tar.gz")


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    return built(ROOT, tmp_path_factory.mktemp("dist") / "out")


def test_there_is_one_wheel_for_every_machine_and_one_source_distribution(
    files: dict[str, bytes],
) -> None:
    wheel, sdist = sorted(files)
    assert wheel.endswith("-py3-none-any.whl")
    assert sdist.endswith(".tar.gz")


def test_another_folder_time_umask_order_and_locale_change_no_byte(
    files: dict[str, bytes], tmp_path: Path
) -> None:
    staged, other = tmp_path / "staged", tmp_path / "other"
    dist.stage(ROOT, staged)
    paths = [path for path in staged.rglob("*") if path.is_symlink() or not path.is_dir()]
    random.shuffle(paths)
    for number, path in enumerate(paths):
        copy = other / path.relative_to(staged)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, copy, follow_symlinks=False)
        if not copy.is_symlink():
            copy.chmod(0o700 if path.stat().st_mode & 0o100 else 0o600)
            os.utime(copy, (number * 10**6, number * 10**6))
    for command in (["init", "-q"], ["add", "--all", "--force"]):
        subprocess.run(["git", *command], cwd=other, check=True, timeout=PATIENCE)
    # What a person has lying about is no part of mailbell.
    (other / "src/mailbell/draft.py").write_text("raise SystemExit\n")
    (other / "notes").mkdir()
    (other / "notes/todo.txt").write_text("secret\n")
    elsewhere = {"TZ": "Asia/Kathmandu", "LC_ALL": "tr_TR.UTF-8", "PYTHONHASHSEED": "7",
                 "PYTHONOPTIMIZE": "2", "SOURCE_DATE_EPOCH": "1"}  # fmt: skip
    assert built(other, tmp_path / "out", 0o077, **elsewhere) == files


def test_an_unpacked_source_distribution_builds_the_same_bytes(
    files: dict[str, bytes], tmp_path: Path
) -> None:
    tree = unpacked(files, tmp_path / "sdist")
    assert built(tree, tmp_path / "first") == files
    # What `make` leaves there is not built.
    subprocess.run(["make", "--silent", "xpi", f"PYTHON={sys.executable}"], cwd=tree, check=True)
    for name in (".venv/bin/python", "dist/old.whl", "src/mailbell/__pycache__/x.pyc"):
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).touch()
    assert (tree / "src/mailbell/clients/thunderbird").is_dir(), "make has made the links"
    assert built(tree, tmp_path / "second") == files


def test_the_source_distribution_has_every_file(files: dict[str, bytes], tmp_path: Path) -> None:
    """So `make test` has all that it needs. Make makes the links, which no such archive holds."""
    dist.stage(ROOT, tmp_path / "staged")
    staged = {
        str(path.relative_to(tmp_path / "staged"))
        for path in (tmp_path / "staged").rglob("*")
        if not path.is_dir() and not path.is_symlink()
    }
    tree = unpacked(files, tmp_path / "sdist")
    assert {
        str(path.relative_to(tree)) for path in tree.rglob("*") if not path.is_dir()
    } == staged | {"PKG-INFO"}


def test_what_has_to_be_executed_can_be(files: dict[str, bytes], tmp_path: Path) -> None:
    dist.stage(ROOT, tmp_path / "staged")
    tree = unpacked(files, tmp_path / "sdist")
    modes = {
        str(path.relative_to(tree)): (tmp_path / "staged" / path.relative_to(tree)).stat().st_mode
        for path in tree.rglob("*")
        if path.is_file() and path.name != "PKG-INFO"
    }
    different = [
        name for name, mode in modes.items() if (tree / name).stat().st_mode & 0o100 != mode & 0o100
    ]
    assert different == []


def test_the_wheel_brings_no_compiled_code(files: dict[str, bytes], tmp_path: Path) -> None:
    wheel, _ = sorted(files)
    (tmp_path / wheel).write_bytes(files[wheel])
    with zipfile.ZipFile(tmp_path / wheel) as archive:
        beginnings = {name: archive.read(name)[:4] for name in archive.namelist()}
    assert "mailbell/__init__.py" in beginnings
    compiled = (".so", ".pyd", ".o", ".a", ".pyc", ".wasm")
    assert [name for name in beginnings if name.endswith(compiled)] == []
    assert [name for name, begin in beginnings.items() if begin == b"\x7fELF"] == []


def test_git_that_refuses_ends_the_build(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """All that lies about would be built otherwise."""
    (tmp_path / ".git").mkdir()
    monkeypatch.setattr(dist, "ROOT", tmp_path)
    monkeypatch.setattr(sys, "argv", ["dist.py", str(tmp_path / "out")])
    assert dist.main() == 69
    assert "git" in capfd.readouterr().err
    assert not list((tmp_path / "out").iterdir())


def test_the_program_says_how_it_is_called(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["dist.py", "a", "b"])
    assert dist.main() == 64
    assert "usage: " in capfd.readouterr().err
