"""The shipped service files, as the tests read them."""

import json
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

import pytest
from harness.sender import PATIENCE

import mailbell

__all__ = [
    "POLICY",
    "SYSTEMD",
    "Unit",
    "analyze",
    "calls",
    "copied_units",
    "exposure",
    "exposures",
    "read",
    "require",
    "words_of",
]

# The installed files, so that a wheel without them fails.
POLICY: Final = Path(mailbell.__file__).parent / "policy"
SYSTEMD: Final = POLICY / "systemd"


@dataclass(frozen=True)
class Unit:
    """A unit file: its settings in their order, `Section.Key` and value."""

    settings: tuple[tuple[str, str], ...]

    def values(self, name: str) -> list[str]:
        """Return every value of a setting that may be repeated."""
        return [value for key, value in self.settings if key == name]

    def value(self, name: str) -> str:
        """Return the value of a setting that is there once."""
        (value,) = self.values(name)
        return value

    def words(self, name: str) -> list[str]:
        """Return the words of all values of a setting."""
        return [word for value in self.values(name) for word in value.split()]


def read(name: str) -> Unit:
    """Read a shipped unit by its name."""
    section, settings = "", []
    for line in words_of(SYSTEMD / name):
        if line.startswith("["):
            section = line.strip("[]")
        else:
            key, _, value = line.partition("=")
            settings.append((f"{section}.{key}", value))
    return Unit(tuple(settings))


def words_of(path: Path) -> list[str]:
    """Return the lines of a file that are neither empty nor comments."""
    lines = (line.strip() for line in path.read_text().splitlines())
    return [line for line in lines if line and not line.startswith("#")]


def require(*programs: str) -> None:
    """Skip the test where a program is missing, for root as for others."""
    for program in programs:
        if shutil.which(program, path="/usr/bin:/usr/sbin:/bin:/sbin") is None:
            pytest.skip(f"{program} is not installed")


@cache
def calls(group: str) -> frozenset[str]:
    """Return the system calls that a word of `SystemCallFilter=` stands for, by systemd's lists."""
    if not group.startswith("@"):
        return frozenset({group})
    require("systemd-analyze")
    done = subprocess.run(
        ["systemd-analyze", "--no-pager", "syscall-filter", group],
        check=True, capture_output=True, text=True, timeout=PATIENCE,
    )  # fmt: skip
    lines = [line.strip() for line in done.stdout.splitlines()[1:]]
    members = [line for line in lines if line and not line.startswith("#")]
    assert members, group
    return frozenset().union(*map(calls, members))


def analyze(*words: str, cwd: Path | None = None) -> "subprocess.CompletedProcess[str]":
    """Run systemd-analyze."""
    require("systemd-analyze")
    return subprocess.run(
        ["systemd-analyze", "--no-pager", *words],
        check=False, capture_output=True, text=True, timeout=PATIENCE, cwd=cwd,
        env={**os.environ, "LC_ALL": "C.UTF-8"},
    )  # fmt: skip


def exposure(path: Path) -> float:
    """Return the overall exposure of a service, from 0 to 10."""
    said = analyze("security", "--offline=true", str(path))
    (figure,) = re.findall(r"Overall exposure level for \S+: (\d+\.\d)", said.stdout)
    return float(figure)


def exposures(path: Path) -> set[str]:
    """Return the settings of a service that add to its exposure, by systemd's names for them."""
    said = analyze("security", "--offline=true", "--json=short", str(path))
    found = json.loads(said.stdout)
    return {each["json_field"] for each in found if float(each["exposure"] or 0) > 0}


def copied_units(directory: Path, service: str, old: str = "", new: str = "") -> Path:
    """Copy the units so that they could run on this machine; return one, with a changed line."""
    program = directory / "program"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    for path in SYSTEMD.iterdir():
        text = path.read_text()
        if path.name == service:
            assert old in text
            text = text.replace(old, new, 1) if old else text
        text = re.sub(r"(?m)^ExecStart=\S+", f"ExecStart={program}", text)
        (directory / path.name).write_text(text)
    return directory / service
