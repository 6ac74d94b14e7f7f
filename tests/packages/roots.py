"""Clean roots of Debian, as a person has after the installation: packages, and nothing of ours.

A root is made once of the same packages, and kept below `.cache/roots`, which only root reads:
Debian's setuid programs in it get no update. Tests run over it, and do not change it
(`packages.system`). Remove the folder to get Debian's newer packages.
"""

import hashlib
import os
from pathlib import Path
from typing import Final

import pytest
from machines.books import source
from machines.cache import ROOT, kept
from machines.processes import ALONE, locked, run

__all__ = ["INSTALLS", "SUITES", "clean_root", "require_roots"]

INSTALLS: Final = os.environ.get("MAILBELL_ROOTS") == "1"
"""Whether roots get packages. Some stages of `.ci/run` say so; it takes minutes."""

SUITES: Final = {"bookworm": "3.11", "trixie": "3.13", "forky": "3.14"}
"""Debian 12, 13 and its testing suite, each with the version of its CPython."""

# A machine that is administered has them, and the other packages bring nothing of them.
_MINIMAL: Final = (
    "systemd-sysv", "dbus", "dbus-user-session", "libpam-systemd", "iproute2", "procps",
)  # fmt: skip

_MAKING: Final = 900.0  # seconds, on a slow machine with a slow mirror
# To be counted up when roots that were made before are to be made anew.
_VERSION: Final = 1


def require_roots(what: str = "a clean Debian", stages: str = "`packages` or `ways`") -> None:
    """Skip the test where no root may be made.

    Args:
        what: what is not there then, for the reason.
        stages: those of `.ci/run` that make it.
    """
    if os.geteuid() != 0:
        pytest.skip("packages and other users need root")
    if not INSTALLS:
        pytest.skip(f"{what} is not installed; the stage {stages} of .ci/run installs it")


def clean_root(suite: str, *packages: str) -> Path:
    """Make a root of a Debian, if there is none yet of the same packages.

    Args:
        suite: as Debian names it.
        packages: what it has beside the packages of a minimal system with systemd.

    Returns:
        The root directory. Its sources.list(5) names the mirror that this host uses, and apt
        knows what that offers.
    """
    wanted = sorted({*_MINIMAL, *packages})
    folder = ROOT / ".cache" / "roots"
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    # xdist's workers want the same roots: the first one makes it, and the others wait.
    name = f"{suite}-{hashlib.sha256(' '.join(wanted).encode()).hexdigest()[:6]}"
    with locked(folder / f"{name}.lock"):
        made = kept(folder, name, (_VERSION, suite, wanted), lambda new: _make(new, suite, wanted))
    return made / "root"


def _make(place: Path, suite: str, packages: list[str]) -> None:
    run(
        *ALONE, "mmdebstrap", "--quiet", "--variant=minbase", "--format=directory",
        '--aptopt=Acquire::Retries "10"', "--include", ",".join(packages),
        "--skip=cleanup/apt/lists", "--dpkgopt=force-unsafe-io",
        suite, place / "root", source(suite), seconds=_MAKING,
    )  # fmt: skip
