"""Print the oldest version of each dependency that pyproject.toml permits, as pip constraints.

`.ci/run floors` installs exactly these versions and runs the tests with them. So each
floor is a version that was tried. The output is `name==version`, one dependency on each
line: those of the programs, of every extra, and of the build.
"""

import re
import sys
import tomllib
from collections.abc import Iterator
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


def main() -> int:
    """Print the floors of this project; return the exit code."""
    try:
        print("\n".join(floor(one) for one in requirements(tomllib.loads(PROJECT.read_text()))))
    except ValueError as error:
        print(f"floors: {PROJECT.name}: {error}", file=sys.stderr)
        return 65
    return 0


if __name__ == "__main__":
    sys.exit(main())
