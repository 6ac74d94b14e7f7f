"""Build the wheel and the source distribution of mailbell: the same bytes on every machine.

    python scripts/dist.py [FOLDER]

`make dist` runs it with the build tools of requirements/build.txt. What is built holds the files
that git tracks, as they are now. A tree without git is an unpacked source distribution, which has
no others. FOLDER is dist/ unless another one is named. Each file is printed with its SHA-256.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent


def tracked(root: Path) -> list[str] | None:
    """Return the names of the files that git tracks.

    Args:
        root: the project's folder.

    Returns:
        The names, relative to the folder; None: it is no work tree of git.

    Raises:
        OSError: git is not installed.
        subprocess.CalledProcessError: git refuses.
    """
    if not (root / ".git").exists():
        return None
    # git reads no tree of another user unless it is told to. It only lists names here.
    git = ("git", "-c", f"safe.directory={root}", "-C", root)
    names = subprocess.run(  # noqa: S603 (no word of it is from outside)
        [*git, "ls-files", "-z"], capture_output=True, check=True
    ).stdout
    return [os.fsdecode(name) for name in names.split(b"\0") if name]


def stage(root: Path, target: Path) -> None:
    """Copy what is built.

    Args:
        root: the project's folder.
        target: a folder to make.

    Raises:
        OSError, subprocess.CalledProcessError: as in `tracked`, or a file cannot be copied.
    """
    names = tracked(root)
    if names is None:
        # PKG-INFO is made anew: with the old one the archive would hold it twice.
        skipped = shutil.ignore_patterns("__pycache__", ".venv*", ".cache", "dist")
        shutil.copytree(root, target, symlinks=True, ignore=skipped)
        (target / "PKG-INFO").unlink(missing_ok=True)
        return
    for name in names:
        # A file that was removed, and not yet from the index, is not built.
        if os.path.lexists(root / name):
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(root / name, target / name, follow_symlinks=False)


def build(root: Path, folder: Path) -> list[Path]:
    """Build both distributions.

    Args:
        root: the project's folder.
        folder: where they are put; it is made if it is not there.

    Returns:
        The files, in the order of their names.

    Raises:
        OSError, subprocess.CalledProcessError: as in `stage`, or the build fails.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as place:
        stage(root, Path(place, "mailbell"))
        # Without SOURCE_DATE_EPOCH the builder gives each file one time that never changes.
        # Isolated, the interpreter reads no variable of Python's and no folder of a user.
        subprocess.run(  # noqa: S603 (no word of it is from outside)
            [sys.executable, "-I", "-m", "hatchling", "build", "-d", Path(place, "built")],
            cwd=Path(place, "mailbell"), stdin=subprocess.DEVNULL, stdout=sys.stderr, check=True,
            env={"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C.UTF-8"},
        )  # fmt: skip
        made = sorted(Path(place, "built").iterdir())
        return [Path(shutil.copyfile(path, folder / path.name)) for path in made]


def main() -> int:
    """Build, and print each file with its SHA-256; return the exit code."""
    if len(sys.argv) > 2 or sys.argv[1:2] == ["--help"]:
        print("usage: dist.py [FOLDER]", file=sys.stderr)
        return 64
    try:
        made = build(ROOT, Path(sys.argv[1] if sys.argv[1:] else ROOT / "dist"))
    except (OSError, subprocess.CalledProcessError) as error:
        print(f"dist: {error}", file=sys.stderr)
        return 69
    for path in made:
        print(f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
