"""Makes what a machine boots from, or takes what was made before."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from machines.books import Books
from machines.cache import CACHE, cache_locked, kept
from machines.description import Machine
from machines.foreign import EMULATORS_FROM, HOST, through
from machines.kernel import Kernel, make_kernel
from machines.processes import run
from machines.userland import Keys, make_keys, make_userland

__all__ = ["Made", "make"]


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
    with cache_locked():
        keys = make_keys(CACHE / "keys")
        begun = time.monotonic()
        before = partial(_through, machine.architecture)
        userland = make_userland(machine, keys, CACHE / "userlands", before)
        say(f"disk with {machine.suite} {machine.architecture}: {time.monotonic() - begun:.0f} s")
        begun = time.monotonic()
        books = partial(_books, machine.kernel_from, machine.architecture)
        kernel = make_kernel(machine, books, userland.busybox, CACHE / "kernels")
        say(f"kernel {kernel.version}: {time.monotonic() - begun:.0f} s")
        return Made(kernel, userland.disk, keys)


def _books(suite: str, architecture: str) -> Books:
    return Books(CACHE / "books" / f"{suite}-{architecture}", suite, architecture)


def _through(architecture: str) -> list[str]:
    """Return what to put before a command so that it can run programs of an architecture."""
    if architecture == HOST:
        return []
    place = kept(CACHE / "emulators", architecture, EMULATORS_FROM, _unpack_emulators)
    return through(architecture, place)


def _unpack_emulators(folder: Path) -> None:
    package = _books(EMULATORS_FROM, HOST).download("qemu-user", folder)
    run("dpkg-deb", "-x", package, folder)
