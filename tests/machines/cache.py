"""What machines are made of is made once, and kept below `.cache/machines`.

Only root reads it: it has keys, and Debian's setuid programs. Remove it to get Debian's newer
packages.
"""

import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from machines.processes import locked

__all__ = ["CACHE", "cache_locked", "kept", "whole"]

ROOT: Final = Path(__file__).resolve().parents[2]
CACHE: Final = Path(os.environ.get("MAILBELL_MACHINES_CACHE", ROOT / ".cache" / "machines"))


@contextmanager
def cache_locked() -> Iterator[None]:
    """Keep other runs out of the cache during the block."""
    CACHE.mkdir(parents=True, exist_ok=True)
    CACHE.chmod(0o700)
    with locked(CACHE / "lock"):
        yield


def kept(folder: Path, name: str, made_of: object, make: Callable[[Path], object]) -> Path:
    """Return a folder that is made once of the same things; older ones of its name are removed.

    Args:
        folder: where it lies.
        name: what its own name begins with; the rest is a hash.
        made_of: what decides on its content, and has the same `repr` in each run.
        make: fills the folder.
    """
    place = folder / f"{name}-{hashlib.sha256(repr(made_of).encode()).hexdigest()[:12]}"
    if not place.exists():
        for older in folder.glob(f"{name}-{'[0-9a-f]' * 12}*"):
            shutil.rmtree(older)
    return whole(place, make)


def whole(place: Path, make: Callable[[Path], object]) -> Path:
    """Return a folder, which is made if it is not there; it has its name only when it is whole."""
    if not place.exists():
        part = place.with_name(f"{place.name}.part")
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        make(part)
        part.rename(place)
    return place
