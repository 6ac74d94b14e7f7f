"""Debian's packages of other suites and architectures, through books of apt's own.

The host's list of packages is neither read nor changed. Signatures count; that a mirror is some
weeks behind does not.
"""

import os
from functools import cache
from pathlib import Path
from typing import Final

from machines.processes import run

__all__ = ["KEYRING", "Books", "source"]

KEYRING: Final = "/usr/share/keyrings/debian-archive-keyring.gpg"

_CONFIGURATION: Final = """\
APT::Architecture "{architecture}";
APT::Architectures {{ "{architecture}"; }};
APT::Sandbox::User "root";
Dir::State "{folder}";
Dir::State::status "/dev/null";
Dir::Cache "{folder}/cache";
Dir::Etc::sourcelist "{folder}/sources.list";
Dir::Etc::sourceparts "/dev/null";
"""


@cache
def _mirror() -> str:
    """Return the mirror that this host installs from."""
    command = ("apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages")
    found = run(*command).decode().split()
    for uri in found:
        if uri.rstrip("/").endswith("/debian"):
            return uri
    raise LookupError(f"apt-get names no mirror whose path ends with /debian, but {found}")


def source(suite: str) -> str:
    """Return the line of sources.list(5) for a suite."""
    return f"deb [signed-by={KEYRING} check-valid-until=no] {_mirror()} {suite} main"


class Books:
    """What a suite offers for an architecture.

    Args:
        folder: where to keep the books.
        suite: the suite.
        architecture: as Debian names it.
    """

    def __init__(self, folder: Path, suite: str, architecture: str) -> None:
        self._folder = folder
        for name in ("lists/partial", "cache/archives/partial"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        (folder / "sources.list").write_text(source(suite) + "\n")
        text = _CONFIGURATION.format(architecture=architecture, folder=folder)
        (folder / "apt.conf").write_text(text)
        self._environment = {**os.environ, "APT_CONFIG": str(folder / "apt.conf")}
        self._apt("apt-get", "update", "-qq")

    def names(self, beginning: str) -> list[str]:
        """Return the names of all packages that begin so."""
        return self._apt("apt-cache", "pkgnames", beginning).split()

    def download(self, package: str, folder: Path) -> Path:
        """Download a package into a folder, without what it depends on; return its file."""
        self._apt("apt-get", "download", "-qq", package, cwd=folder)
        (found,) = folder.glob(f"{package}_*.deb")
        return found

    def _apt(self, *command: str, cwd: Path | None = None) -> str:
        return run(*command, cwd=cwd, env=self._environment).decode()
