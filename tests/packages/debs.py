"""Debian's packages of this source tree, built in a clean Debian 13 that has no network.

They are built once for each state of the tree, and kept below `.cache/built`.
"""

import re
import shutil
from pathlib import Path
from typing import Final

from machines.processes import run
from packages.built import built
from packages.roots import clean_root
from packages.system import System, booted

__all__ = [
    "BUILT", "PACKAGES", "SUITE", "build", "build_dependencies", "debs", "furniture", "results",
    "tools",
]  # fmt: skip

ROOT: Final = Path(__file__).resolve().parents[2]
SUITE: Final = "trixie"
PACKAGES: Final = ("python3-mailbell", "mailbell", "mailbell-sender")
BUILT: Final = ("*.deb", "*.dsc", "*.tar.xz", "*.buildinfo", "*.changes")
"""What a build makes. The last two name the machine and the time, so no two are the same."""

# What tries installed packages. It brings no compiler, and nothing that mailbell imports.
_TESTERS: Final = (
    "autopkgtest", "dpkg-dev", "python3-venv",
    "python3-pytest", "python3-pytest-trio", "python3-pytest-xdist", "python3-hypothesis",
)  # fmt: skip

# Virtual packages, and what provides them.
_PROVIDED: Final = {
    "debhelper-compat": "debhelper",
    "dh-sequence-installsysusers": "debhelper",
    "dh-sequence-python3": "dh-python",
}
# A copy of the source tree has the times and modes of whoever made it; git keeps neither. In a
# package the time of the changelog stands for all later times, and so here for earlier ones too.
_BUILD: Final = """
chmod -R u+rwX,go+rX,go-w mailbell
cd mailbell
find . -exec touch --no-dereference --date="@$(dpkg-parsechangelog --show-field Timestamp)" {} +
dpkg-buildpackage --no-check-builddeps --no-sign 2>&1
"""
# The form of a dependency, as deb-control(5) has it.
_NAME: Final = re.compile(r"^\s*(\S+)(?: \([^)]*\))?\s*$")


def build_dependencies() -> list[str]:
    """Return the packages that the build needs, as debian/control names them."""
    text = (ROOT / "debian" / "control").read_text()
    (field,) = re.findall(r"^Build-Depends: ((?:.+\n)(?: .+\n)*)", text, re.MULTILINE)
    names = [match[1] for each in field.split(",") if (match := _NAME.match(each))]
    return sorted({_PROVIDED.get(name, name) for name in names})


def furniture(packages: list[Path]) -> list[str]:
    """Return what a system needs in which packages are installed without a network and tried.

    It is the same for all tests: one root is made quicker than one for each.

    Args:
        packages: the packages. Of "a | b", on which one depends, the first is taken.
    """
    fields = (run("dpkg-deb", "--field", each, "Depends").decode() for each in packages)
    names = {re.split(r"[ :(|]", each.strip())[0] for field in fields for each in field.split(",")}
    return sorted({*names, *_TESTERS} - set(PACKAGES))


def tools() -> Path:
    """Return the root that has what builds packages and what looks at them.

    Debian's own builders also have a C compiler. Nothing is compiled here.
    """
    return clean_root(SUITE, "lintian", *build_dependencies())


def debs() -> list[Path]:
    """Return the packages of this source tree, in the order of `PACKAGES`."""
    folder = results()
    return [next(folder.glob(f"{name}_*.deb")) for name in PACKAGES]


def results() -> Path:
    """Return a folder with all that a build makes."""
    return built("debs", _make)


def build(system: System, source: Path, place: str = "/build", settings: str = "") -> Path:
    """Build the packages in a system that has the `tools`.

    Args:
        system: where to build.
        source: the source tree, named `mailbell`.
        place: the folder for it.
        settings: lines for the shell before the build.

    Returns:
        The folder with the results, as it is seen from here.
    """
    system.put(source, place)
    system.run(f"{settings}\ncd {place}{_BUILD}")
    return system.path(place)


def _make(source: Path, folder: Path) -> None:
    with booted(tools()) as system:
        made = build(system, source)
        for form in BUILT:
            for each in made.glob(form):
                shutil.copy(each, folder)
