"""An environment with mailbell in a clean Debian, made once of this source tree.

Tests unpack it where they want it: that takes a moment, and pip takes long.
"""

import subprocess
from pathlib import Path
from typing import Final

from machines.wheels import wheels
from packages.built import built, wheel
from packages.roots import SUITES, clean_root
from packages.system import System, booted

__all__ = ["PACKAGES", "put_environment"]

PACKAGES: Final = ("python3-venv",)
"""What a system has in which mailbell is installed with pip."""

_INSTALL: Final = """
python3 -m venv /opt/mailbell
/opt/mailbell/bin/pip install -qq --no-index --find-links /root/wheels mailbell
tar -C / -cf /root/environment.tar opt/mailbell
"""


def put_environment(system: System, suite: str = "trixie") -> None:
    """Put mailbell into /opt/mailbell, as `python3 -m venv` and pip do.

    Args:
        system: a system of that suite with `PACKAGES`.
        suite: as Debian names it.
    """
    folder = built(f"environment-{suite}", lambda _, folder: _make(folder, suite))
    archive = folder / "environment.tar"
    with archive.open("rb") as file:
        process = system.popen("tar", "-C", "/", "-xf", "-", stdin=file, stderr=subprocess.STDOUT)
        assert process.wait(60) == 0


def _make(folder: Path, suite: str) -> None:
    with booted(clean_root(suite, *PACKAGES)) as system:
        system.put(wheels("amd64", SUITES[suite]), "/root")
        system.run("mv /root/amd64-* /root/wheels")
        system.put(wheel(), "/root/wheels")
        system.run(_INSTALL)
        (folder / "environment.tar").write_bytes(system.path("/root/environment.tar").read_bytes())
