"""What is installed in the tests: the wheel of this source tree, and what it needs.

It is built once for each state of the tree, and kept below `.cache/built`.
"""

import hashlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

from machines.cache import ROOT, kept
from machines.processes import locked, run
from machines.wheels import source_tree

__all__ = ["built", "wheel"]

_BUILT: Final = ROOT / ".cache" / "built"


def built(name: str, make: Callable[[Path, Path], object]) -> Path:
    """Build something from this source tree, if that is not done yet.

    Args:
        name: of what is built.
        make: takes a copy of the source tree and the folder that it fills.

    Returns:
        The folder.
    """
    _BUILT.mkdir(parents=True, exist_ok=True)
    with locked(_BUILT / f"{name}.lock"):
        return kept(_BUILT, name, _state(), lambda new: _build(new, make))


def wheel() -> Path:
    """Return the wheel of this source tree."""
    (found,) = built("wheel", _wheel).glob("*.whl")
    return found


def _build(place: Path, make: Callable[[Path, Path], object]) -> None:
    make(source_tree(place / "source"), place)


def _wheel(source: Path, folder: Path) -> None:
    run(sys.executable, source / "scripts" / "dist.py", folder)  # as `make dist` does


def _state() -> str:
    """Return a hash of all files that are, or may become, part of the project."""
    listed = run("git", "-C", ROOT, "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    state = hashlib.sha256()
    for name in sorted(filter(None, listed.decode().split("\0"))):
        path = ROOT / name
        if path.is_file():
            state.update(f"{name}\0{path.stat().st_mode:o}\0".encode() + path.read_bytes() + b"\0")
    return state.hexdigest()
