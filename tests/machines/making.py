"""Makes what a machine boots from, and keeps it in `.cache/machines`."""

import fcntl
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from machines.books import Books
from machines.description import Machine
from machines.foreign import EMULATORS_FROM, HOST, through
from machines.kernel import Kernel, make_kernel
from machines.userland import Keys, make_keys, make_userland

__all__ = ["CACHE", "Made", "make"]

ROOT: Final = Path(__file__).resolve().parents[2]
CACHE: Final = Path(os.environ.get("MAILBELL_MACHINES_CACHE", ROOT / ".cache" / "machines"))


@dataclass(frozen=True)
class Made:
    """What a machine boots from."""

    kernel: Kernel
    disk: Path
    keys: Keys


def make(machine: Machine, say: Callable[[str], object]) -> Made:
    """Make what a machine boots from, or take what was made before.

    Args:
        machine: the machine.
        say: is told what was done, and how long it took.
    """
    CACHE.mkdir(parents=True, exist_ok=True)
    with open(CACHE / f"lock-{machine.suite}-{machine.architecture}", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # another run may make the same
        return _make(machine, say)


def _make(machine: Machine, say: Callable[[str], object]) -> Made:
    keys = make_keys(CACHE / "keys")
    begun = time.monotonic()
    userland = make_userland(
        machine, keys, CACHE / "userlands", lambda: _through(machine.architecture)
    )
    say(f"disk with {machine.suite} {machine.architecture}: {time.monotonic() - begun:.0f} s")
    begun = time.monotonic()
    books = _books(machine.kernel_from, machine.architecture)
    kernel = make_kernel(machine, books, userland.busybox, CACHE / "kernels")
    say(f"kernel {kernel.version}: {time.monotonic() - begun:.0f} s")
    return Made(kernel, userland.disk, keys)


def _books(suite: str, architecture: str) -> Books:
    return Books(CACHE / "books" / f"{suite}-{architecture}", suite, architecture)


def _through(architecture: str) -> list[str]:
    """Return what to put before a command so that it can run programs of an architecture."""
    if architecture == HOST:
        return []
    folder = CACHE / "emulators"
    package = _books(EMULATORS_FROM, HOST).download("qemu-user", folder)
    return through(architecture, package, folder)
