"""Wheels for a machine that has no way out: what pip installs and builds mailbell from."""

import shutil
import sys
import tomllib
from pathlib import Path
from typing import Final

from machines.cache import CACHE, cache_locked, kept
from machines.processes import run

__all__ = ["source_tree", "wheels"]

ROOT: Final = Path(__file__).resolve().parents[2]

_MACHINES: Final = {"amd64": "x86_64", "arm64": "aarch64"}
# The versions of glibc that wheels are built for; Debian 12 has 2.36.
_GLIBC: Final = ("2_17", "2_28", "2_31", "2_34")


def wheels(architecture: str, python: str, *extras: str) -> Path:
    """Download the wheels of mailbell's dependencies, and of what builds mailbell itself.

    They are downloaded once for the same lists of pyproject.toml.

    Args:
        architecture: as Debian names it.
        python: the version of the machine's Python, such as `3.13`.
        extras: names of extras of pyproject.toml whose dependencies are wanted too.

    Returns:
        The folder with the wheels.
    """
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    wanted = [*project["build-system"]["requires"], *project["project"]["dependencies"], "pip"]
    for extra in extras:
        wanted += project["project"]["optional-dependencies"][extra]
    platforms = [f"manylinux_{glibc}_{_MACHINES[architecture]}" for glibc in _GLIBC]
    platforms.append(f"manylinux2014_{_MACHINES[architecture]}")
    command = (
        sys.executable, "-m", "pip", "download", "-qq", "--disable-pip-version-check",
        "--only-binary=:all:", "--python-version", python,
        *(f"--platform={platform}" for platform in platforms), *wanted,
    )  # fmt: skip
    name = "-".join((architecture, python, *extras))
    with cache_locked():
        return kept(CACHE / "wheels", name, command[1:], lambda new: run(*command, "--dest", new))


def source_tree(folder: Path) -> Path:
    """Copy the project as it is now, without what git ignores.

    Args:
        folder: where to put it.

    Returns:
        The copy, named `mailbell`.
    """
    target = folder / "mailbell"
    listed = run("git", "-C", ROOT, "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    for name in filter(None, listed.decode().split("\0")):
        source = ROOT / name
        if source.is_symlink() or source.exists():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target / name, follow_symlinks=False)
    return target
