"""What an index of packages would offer: mailbell, which is on none yet, and all that it needs.

pip and uv find it in a folder of the system, by their variables. So the commands stay those of
docs/install.md.
"""

import os
import re
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from machines.cache import ROOT, kept
from machines.processes import locked, run
from machines.wheels import wheels
from packages.built import built, wheel
from packages.roots import SUITES
from packages.system import System

__all__ = ["ENVIRONMENT", "FOLDER", "NEWER", "offer", "offer_newer", "withdraw_newer"]

FOLDER: Final = "/srv/offered"
"""The folder of the system."""

ENVIRONMENT: Final = {
    "PIP_NO_INDEX": "1",
    "PIP_FIND_LINKS": FOLDER,
    "UV_OFFLINE": "1",
    "UV_FIND_LINKS": FOLDER,
}
"""Variables of a person for whom the folder is the index."""

NEWER: Final = "99.0.0"
"""The version that `offer_newer` offers."""

# pipx puts pip into an environment of its own, and that of Debian 12 two more. uv installs too.
_TOOLS: Final = ("pip", "setuptools", "wheel", "uv")


def offer(system: System, suite: str) -> None:
    """Put mailbell of this source tree, and what it needs, where pip and uv find them.

    Args:
        system: the system.
        suite: its Debian, for the version of its Python.
    """
    architecture = "arm64" if os.uname().machine == "aarch64" else "amd64"
    needed = wheels(architecture, SUITES[suite])
    _put(system, [*needed.glob("*.whl"), *_tools().glob("*.whl"), wheel()])


def offer_newer(system: System) -> None:
    """Offer the same mailbell under a newer version."""
    _put(system, built("newer", _newer).glob("*.whl"))


def withdraw_newer(system: System) -> None:
    """Offer it no more."""
    system.run(f"rm {FOLDER}/mailbell-{NEWER}-*")


def _put(system: System, files: Iterable[Path]) -> None:
    for file in files:
        system.put(file, FOLDER)


def _tools() -> Path:
    """Return a folder with the newest versions of the tools, which serve each Python."""
    folder = ROOT / ".cache" / "tools"
    folder.mkdir(parents=True, exist_ok=True)
    command = (
        sys.executable, "-m", "pip", "download", "-qq", "--disable-pip-version-check",
        "--no-deps", "--only-binary=:all:", *_TOOLS,
    )  # fmt: skip
    with locked(folder / "lock"):
        return kept(folder, "wheels", _TOOLS, lambda new: run(*command, "--dest", new))


def _newer(source: Path, folder: Path) -> None:
    init = source / "src" / "mailbell" / "__init__.py"
    text, changed = re.subn(r'__version__ = ".*"', f'__version__ = "{NEWER}"', init.read_text())
    assert changed == 1
    init.write_text(text)
    run(
        sys.executable, "-m", "pip", "wheel", "-qq", "--disable-pip-version-check", "--no-deps",
        "--wheel-dir", folder, source,
    )  # fmt: skip
