"""Print the oldest version of each dependency that pyproject.toml permits, as pip constraints.

`.ci/run floors` installs exactly these versions and runs the tests with them. So each
floor is a version that was tried. The output is `name==version`, one dependency on each
line: those of the programs, of every extra, and of the build. If an extra needs a newer version
than the programs do, this is the floor; `--programs` prints those of the programs alone.
"""

import re
import sys
import tomllib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

PROJECT: Final = Path(__file__).resolve().parent.parent / "pyproject.toml"

# A name, perhaps with extras of its own, and one floor. An upper bound or a marker is
# refused: with it, the oldest version could not be read from the requirement.
_REQUIREMENT: Final = re.compile(
    r"(?P<name>[A-Za-z0-9._-]+)(\[[a-z0-9,-]+\])?>=(?P<floor>[0-9]+(\.[0-9]+)*)"
)


def requirements(project: dict[str, Any]) -> Iterator[str]:
    """Yield each requirement of a pyproject.toml.

    Args:
        project: the content of the file.
    """
    yield from project["project"]["dependencies"]
    for extra in project["project"]["optional-dependencies"].values():
        yield from extra
    yield from project["build-system"]["requires"]


def floor(requirement: str) -> str:
    """Turn one requirement into the constraint that permits its oldest version alone.

    Args:
        requirement: as in pyproject.toml, such as `trio>=0.27`.

    Returns:
        The constraint, such as `trio==0.27`.

    Raises:
        ValueError: the requirement is not a name with one floor.
    """
    found = _REQUIREMENT.fullmatch(requirement.replace(" ", ""))
    if not found:
        raise ValueError(f'"{requirement}" must be NAME>=VERSION and nothing else')
    return f"{found['name']}=={found['floor']}"


def floors(wanted: Iterable[str]) -> list[str]:
    """Turn requirements into the constraints that permit the oldest version of each dependency.

    Args:
        wanted: as in pyproject.toml. Of one dependency the highest floor counts.

    Raises:
        ValueError: one of them is not a name with one floor.
    """
    found: dict[str, str] = {}
    for one in wanted:
        name, _, version = floor(one).partition("==")
        found[name] = max(version, found.get(name, version), key=_parts)
    return [f"{name}=={version}" for name, version in found.items()]


def _parts(version: str) -> list[int]:
    return [int(part) for part in version.split(".")]


def main(words: Sequence[str]) -> int:
    """Print the floors of this project; return the exit code.

    Args:
        words: `--programs`, or nothing.
    """
    try:
        project = tomllib.loads(PROJECT.read_text())
        programs = project["project"]["dependencies"]
        print("\n".join(floors(programs if "--programs" in words else requirements(project))))
    except ValueError as error:
        print(f"floors: {PROJECT.name}: {error}", file=sys.stderr)
        return 65
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
