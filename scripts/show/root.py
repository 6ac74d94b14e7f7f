"""The root directory of both machines: a clean Debian with the mail programs, made once.

It lies below the cache of this tree or of the user. `scripts/demo.py` makes it in namespaces in
which the user is root: the files of Debian's root are the user's own, and the others have numbers
that /etc/subuid gives to the user.
"""

import fcntl
import hashlib
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

__all__ = ["cache", "lacks", "made", "namespaces", "place"]

# The kernel kills it when this process has ended, however that did (prctl(2), PR_SET_PDEATHSIG).
_ENDING: Final = ("setpriv", "--pdeathsig", "KILL", "--")
_OWN: Final = (
    "--mount",
    "--net",
    "--uts",
    "--ipc",
    "--pid",
    "--fork",
    "--kill-child",
    "--mount-proc",
)
_PROGRAMS: Final = {"unshare": "util-linux", "nsenter": "util-linux", "ip": "iproute2"}
_ORDINARY: Final = {"newuidmap": "uidmap", "newgidmap": "uidmap"}


def namespaces(*, network: bool) -> list[str]:
    """Return the command that runs another one as root of its own namespaces.

    All that the other one starts, and all its mounts, end with it.

    Args:
        network: whether it has the network of this host; else an empty one.
    """
    ordinary = ("--user", "--map-root-user", "--map-auto") if os.geteuid() else ()
    own = [each for each in _OWN if not (network and each == "--net")]
    return [*_ENDING, "unshare", *ordinary, *own, "--"]


def lacks(*, builds: bool) -> str:
    """Return what this machine lacks for the show, in one line; "": nothing.

    Args:
        builds: whether the root directory is yet to be made.
    """
    programs = {**_PROGRAMS, **(_ORDINARY if os.geteuid() else {})}
    if builds:
        programs["mmdebstrap"] = "mmdebstrap"
    packages = {package for name, package in programs.items() if not shutil.which(name)}
    if packages:
        return f"this needs: apt-get install {' '.join(sorted(packages))}"
    tried = subprocess.run(  # noqa: S603 (our own words)
        [*namespaces(network=False), "true"], check=False, capture_output=True, text=True
    )
    if tried.returncode:
        said = " ".join(tried.stderr.split()) or f"code {tried.returncode}"
        needs = (
            "namespaces of its own, and an ordinary user needs lines in /etc/subuid and /etc/subgid"
        )
        return f"this needs {needs}: {said}"
    return ""


def cache(tree: Path) -> Path:
    """Return the folder for what is made once, which only this user may enter.

    Args:
        tree: the source tree. Its own cache is taken if the user may write there.
    """
    folder = tree / ".cache" / (f"demo-{os.geteuid()}" if os.geteuid() else "demo")
    with suppress(PermissionError):
        return _private(folder)
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return _private(Path(home) / "mailbell-demo")


def place(folder: Path, suite: str, packages: tuple[str, ...]) -> Path:
    """Return where the root directory lies that has these packages of a suite."""
    name = hashlib.sha256(" ".join((suite, *sorted(packages))).encode()).hexdigest()[:12]
    return folder / f"{suite}-{name}"


def made(root: Path, suite: str, packages: tuple[str, ...], told: Callable[[str], object]) -> None:
    """Make the root directory, if it is not there.

    Args:
        root: where it is to be.
        suite: of Debian.
        packages: what it has beside the smallest system.
        told: gets each step, in words.

    Raises:
        RuntimeError: it cannot be made; with the last words of mmdebstrap(1).
    """
    with _locked(root.with_name("lock")):
        if root.exists():
            return
        for older in (*root.parent.glob(f"{suite}-*"),):
            _remove(older)
        part = root.with_name(f"{suite}-part")
        try:
            _debian(part, suite, packages, told)
        except BaseException:  # Ctrl-C too: half a root directory is of no use
            _remove(part)
            raise
        part.rename(root)


def _debian(
    part: Path, suite: str, packages: tuple[str, ...], told: Callable[[str], object]
) -> None:
    command = [
        *namespaces(network=True), "mmdebstrap", "--mode=root", "--format=directory",
        "--variant=minbase", "--dpkgopt=force-unsafe-io", '--aptopt=Acquire::Retries "10"',
        "--include", ",".join(packages),
        suite, str(part), *_mirror(),
    ]  # fmt: skip
    said: list[str] = []
    with subprocess.Popen(  # noqa: S603 (our own words)
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        for line in process.stderr or ():
            said = [*said, line.strip()][-5:]
            if line.startswith("I: "):
                told(line.removeprefix("I: ").strip())
    if process.returncode:
        raise RuntimeError(f"mmdebstrap: {' '.join(said)}")


def _mirror() -> list[str]:
    """Return the mirror that this host installs from; nothing: mmdebstrap's own choice."""
    command = ("apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages")
    with suppress(OSError):
        done = subprocess.run(command, check=False, capture_output=True, text=True)  # noqa: S603 (our own words)
        return [uri for uri in done.stdout.split() if uri.rstrip("/").endswith("/debian")][:1]
    return []


def _private(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)  # Debian's setuid programs in it get no updates
    return folder


def _remove(folder: Path) -> None:
    # Some of its files belong to other users of the namespace.
    subprocess.run([*namespaces(network=False), "rm", "-rf", "--", folder], check=True)  # noqa: S603 (our own words)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
