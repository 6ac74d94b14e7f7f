"""Modules that a start-up may find instead of its own, by PYTHONPATH only."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import pyseccomp

import mailbell

__all__ = ["Modules", "module", "policy", "with_policy", "with_pyseccomp"]

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


def module(name: str, text: str) -> Modules:
    """A module that is found before the real one."""

    def make(directory: Path) -> Mapping[str, str]:
        place = directory / "modules"
        place.mkdir()
        (place / f"{name}.py").write_text(text)
        return _first(place)

    return make


def with_pyseccomp(change: str) -> Modules:
    """The real pyseccomp, here called `real`, after a change to it."""
    return module(
        "pyseccomp",
        f"""
import importlib.util, sys
spec = importlib.util.spec_from_file_location("pyseccomp", {pyseccomp.__file__!r})
real = sys.modules["pyseccomp"] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(real)
{change}
""",
    )


def _first(place: Path) -> Mapping[str, str]:
    """The environment in which modules are looked for here first."""
    others = os.environ.get("PYTHONPATH", "")
    return {"PYTHONPATH": os.pathsep.join(filter(None, [str(place), others, str(SOURCES.parent)]))}
