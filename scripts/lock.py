"""Write requirements/*.txt: the versions and hashes of all that the targets of make install.

    python scripts/lock.py             keep the versions that pyproject.toml still permits
    python scripts/lock.py --upgrade   take the newest versions that are older than a week
    python scripts/lock.py --check     write nothing; exit code 1 if something would change

`make lock` and `make lock-upgrade` run it. All files come from one resolution, so that no two of
them name different versions. It holds for every supported CPython, for x86-64 and for aarch64.
"""

import os
import re
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parent.parent
FOLDER: Final = ROOT / "requirements"
HEAD: Final = "# Written by `make lock`. A change of pyproject.toml needs it again.\n"

# Releases that were taken over are mostly noticed and withdrawn within days.
AGE: Final = "1 week"

# Each file has the requirements of these parts of pyproject.toml: "" is what mailbell itself
# needs, "build" what its build needs, another name an extra or a group of dependencies.
FILES: Final = {
    "build": ("build",),
    "run": ("",),
    "bench": ("", "bench"),
    "test": ("", "cluster", "test", "lint", "bench"),
    "fuzz": ("fuzz",),
    "mutants": ("mutants",),
    "docs": ("docs",),
    "sbom": ("sbom",),
    "lock": ("lock",),
}

# The newest release of these has no wheel for a Python that is supported.
_OLDER: Final = {"atheris": ("python_version < '3.12'", "<3.1")}

MACHINES: Final = ("x86_64", "aarch64")
# LLVM's libFuzzer, which atheris brings, is built for x86-64 alone.
_NO_WHEELS: Final = {("fuzz", "aarch64")}

_PIN: Final = re.compile(
    r"^([a-z0-9-]+(?:\[[a-z0-9,-]+\])?==[^ \\]+(?: ; [^\\]+?)?) \\$", re.MULTILINE
)
_HASH: Final = re.compile(r"--hash=(sha256:[0-9a-f]{64})")


def _project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def requirements(project: dict[str, Any], part: str) -> list[str]:
    """Return the requirements of one part of a pyproject.toml.

    Args:
        project: the content of the file.
        part: as in `FILES`.

    Raises:
        KeyError: there is no such part.
    """
    found: list[str]
    if part == "build":
        found = project["build-system"]["requires"]
    elif part == "":
        found = project["project"]["dependencies"]
    elif part in project["project"]["optional-dependencies"]:
        found = project["project"]["optional-dependencies"][part]
    else:
        found = project["dependency-groups"][part]
    return found


def supported(project: dict[str, Any]) -> list[str]:
    """Return the versions of Python that a pyproject.toml names, such as `3.11`.

    Args:
        project: the content of the file.
    """
    words = [text.split(" :: ") for text in project["project"]["classifiers"]]
    return [last for *first, last in words if first[-1] == "Python" and "." in last]


def lines(requirement: str) -> list[str]:
    """Write one requirement as uv is to read it.

    Args:
        requirement: as in pyproject.toml.

    Returns:
        It alone, or one line for the Pythons with an older release and one for the others.
    """
    name = re.split(r"[><=~[]", requirement)[0].strip()
    if name not in _OLDER:
        return [requirement]
    marker, bound = _OLDER[name]
    return [
        f"{requirement},{bound} ; {marker}",
        f"{requirement} ; {marker.replace('<', '>=')}",
    ]


def pins(text: str) -> dict[str, set[str]]:
    """Read a file of requirements.

    Args:
        text: the content of the file.

    Returns:
        For each `NAME==VERSION`, with its marker if it has one, the hashes that are permitted.
    """
    parts = _PIN.split(text)[1:]
    return {
        pin: set(_HASH.findall(rest)) for pin, rest in zip(parts[::2], parts[1::2], strict=True)
    }


def resolve(wanted: list[str], versions: str, upgrade: bool) -> str:
    """Ask uv for versions and hashes.

    Args:
        wanted: the requirements, as in pyproject.toml.
        versions: a file of requirements whose versions are kept.
        upgrade: take newer versions all the same.

    Returns:
        The file of requirements that uv writes.

    Raises:
        subprocess.CalledProcessError: uv found no versions, or no index.
    """
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder, "mailbell.in"), Path(folder, "locked.txt")
        source.write_text("\n".join(wanted) + "\n")
        target.write_text(versions)
        compile_(
            Path(folder), source.name, "--output-file", target.name, "--universal",
            "--python-version", "3.11", "--fork-strategy", "fewest", "--generate-hashes",
            "--no-strip-extras", "--exclude-newer", AGE, *["--upgrade"] * upgrade,
        )  # fmt: skip
        return target.read_text().replace("-r mailbell.in", "mailbell")


def compile_(folder: Path, *words: str) -> None:
    """Run `uv pip compile`, so that it takes nothing but wheels.

    Args:
        folder: where it runs.
        words: its further arguments.

    Raises:
        subprocess.CalledProcessError: it fails.
    """
    # An index or a constraint of this machine must not decide what others install.
    environment = {
        key: value
        for key, value in os.environ.items()
        if not key.startswith(("UV_", "PIP_", "PYTHON"))
    }
    subprocess.run(  # noqa: S603 (no word of it is from outside)
        [
            Path(sys.executable).with_name("uv"), "pip", "compile", *words, "--quiet",
            "--no-config", "--no-header", "--no-build", "--cache-dir", ROOT / ".cache" / "uv",
            "--python", sys.executable,
        ],
        cwd=folder, env=environment, check=True, stdin=subprocess.DEVNULL,
    )  # fmt: skip


def require_wheels(name: str, text: str) -> None:
    """Ask whether every supported machine finds a wheel of each version.

    Args:
        name: of a file of requirements.
        text: its content.

    Raises:
        subprocess.CalledProcessError: a wheel is missing. uv has said which.
    """
    with tempfile.TemporaryDirectory() as place:
        Path(place, f"{name}.in").write_text(text)
        for machine in MACHINES:
            if (name, machine) in _NO_WHEELS:
                continue
            for python in supported(_project()):
                compile_(
                    Path(place), f"{name}.in", "--output-file", "machine.txt",
                    "--python-platform", f"{machine}-manylinux_2_28", "--python-version", python,
                )  # fmt: skip


def locked(*, upgrade: bool) -> dict[str, str]:
    """Return the content of each file of `FILES`.

    Args:
        upgrade: take newer versions than those of the files that are there.

    Raises:
        subprocess.CalledProcessError: as in `resolve`.
    """
    project = _project()
    wanted = {
        name: [line for part in parts for one in requirements(project, part) for line in lines(one)]
        for name, parts in FILES.items()
    }
    # Without their hashes: uv would not ask the index for a hash that it is told, also a wrong one.
    texts = (path.read_text() for path in sorted(FOLDER.glob("*.txt")))
    old = "".join(f"{pin}\n" for text in texts for pin in pins(text))
    everything = resolve(sorted({one for some in wanted.values() for one in some}), old, upgrade)
    return {name: HEAD + resolve(some, everything, False) for name, some in wanted.items()}


def differences(old: str, new: str) -> list[str]:
    """Say what a new file of requirements changes.

    Args:
        old: the file that is there.
        new: the file that would be written.

    Returns:
        A line for each version that comes or goes, and for each hash that is no longer offered. A
        release may get further files after its day: a hash that comes is no difference.
    """
    before, after = pins(old), pins(new)
    found = [f"- {pin}" for pin in before if pin not in after]
    found += [f"+ {pin}" for pin in after if pin not in before]
    return found + [
        f"! {pin}: {len(gone)} hashes are not offered any more"
        for pin, hashes in before.items()
        if (gone := hashes - after.get(pin, hashes))
    ]


def main() -> int:
    """Write or check the files; return the exit code."""
    words = sys.argv[1:]
    if words not in ([], ["--check"], ["--upgrade"]):
        print("usage: lock.py [--check | --upgrade]", file=sys.stderr)
        return 64
    try:
        files = locked(upgrade=words == ["--upgrade"])
        if words != ["--check"]:
            for name, text in files.items():
                require_wheels(name, text)
    except (OSError, subprocess.CalledProcessError) as error:
        print(f"lock: {error}", file=sys.stderr)
        return 69
    code = 0
    for name, text in files.items():
        path = FOLDER / f"{name}.txt"
        changes = differences(path.read_text() if path.exists() else "", text)
        if changes:
            print(f"{path.relative_to(ROOT)}:", *changes, sep="\n  ")
            code = 1 if words == ["--check"] else 0
        if words != ["--check"]:
            path.write_text(text)
    return code


if __name__ == "__main__":
    sys.exit(main())
