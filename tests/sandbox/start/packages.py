"""Modules that a start-up may find instead of its own, by PYTHONPATH only."""

import importlib.util
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from harness.libseccomp import BINDING

import mailbell

__all__ = ["Modules", "module", "policy", "with_libseccomp", "with_policy"]

SOURCES: Final = Path(mailbell.__file__).parent

Modules = Callable[[Path], Mapping[str, str]]  # takes a directory, returns the environment


def policy() -> str:
    """The text of the policy that comes with the package."""
    return (SOURCES / "policy" / "syscalls" / "mailbelld.toml").read_text()


def with_policy(text: str | None) -> Modules:
    """The package as it is, but with another policy; None: without a policy."""

    def make(directory: Path) -> Mapping[str, str]:
        copy = directory / "copy" / "mailbell"
        (copy / "policy" / "syscalls").mkdir(parents=True)
        for entry in SOURCES.iterdir():
            if entry.name != "policy":
                (copy / entry.name).symlink_to(entry)
        if text is not None:
            (copy / "policy" / "syscalls" / "mailbelld.toml").write_text(text)
        return _first(copy.parent)

    return make


def module(text: str, *names: str) -> Modules:
    """Modules that are found before the real ones."""

    def make(directory: Path) -> Mapping[str, str]:
        place = directory / "modules"
        place.mkdir()
        for name in names:
            (place / f"{name}.py").write_text(text)
        return _first(place)

    return make


def with_libseccomp(load: str) -> Modules:
    """The real binding of libseccomp, here called `real`, which loads a filter in another way.

    Args:
        load: a statement; `original` is the class of filters.
    """
    spec = importlib.util.find_spec(BINDING)
    assert spec is not None
    return module(
        f"""
import importlib.util, sys
spec = importlib.util.spec_from_file_location({BINDING!r}, {spec.origin!r})
real = sys.modules[{BINDING!r}] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(real)
original = real.SyscallFilter
class SyscallFilter(original):
    def load(self):
        {load}
real.SyscallFilter = SyscallFilter
""",
        BINDING,
    )


def _first(place: Path) -> Mapping[str, str]:
    """The environment in which modules are looked for here first."""
    others = os.environ.get("PYTHONPATH", "")
    return {"PYTHONPATH": os.pathsep.join(filter(None, [str(place), others, str(SOURCES.parent)]))}
