"""Tells whether AppArmor confines a service, or what is missing.

Any user may read this: whether AppArmor is on, which profiles are loaded, and under which one a
process runs (apparmor(7), proc_pid_attr(5)).
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from mailbell.cli._finding import Finding, Mark, ok
from mailbell.cli._units import Units

__all__ = ["confinement"]

_ENABLED: Final = "sys/module/apparmor/parameters/enabled"
# A folder for each loaded profile: its name, a dot, and a number.
_LOADED: Final = "sys/kernel/security/apparmor/policy/profiles"
_MOST: Final = 4096  # bytes of such a file; one has a few words
_NOT_STARTED: Final = 71  # the exit code of OperatingSystemError


def confinement(units: Units, service: str, root: Path = Path("/")) -> Iterator[Finding]:
    """Examine the profile of a service. Its name is that of the service.

    Args:
        units: the state of the service, as the service manager tells it.
        service: the name of its unit.
        root: where /proc and /sys are; another folder for a test.

    Yields:
        One finding; none if AppArmor is off, or if the service asks for no profile and this user
        cannot see which there are.
    """
    if not _read(root / _ENABLED).startswith("Y"):
        return
    loaded = _loaded(root)
    asked = units.profile.removeprefix("-")
    if not asked:
        if loaded is not None:
            yield _not_asked(service, loaded)
    elif loaded is not None and asked not in loaded:
        yield _missing(units, service, asked)
    elif units.pid:
        yield _running(units.pid, service, asked, root)
    else:
        yield _mode(service, asked, (loaded or {}).get(asked, ""), "will enforce")


def _running(pid: int, service: str, asked: str, root: Path) -> Finding:
    """Judge a process by what the kernel says of it, as in `mailbelld (enforce)`."""
    current = _read(root / "proc" / str(pid) / "attr" / "apparmor" / "current").strip()
    under, _, mode = current.partition(" (")
    if under and under != asked:
        what = f"{service} was started without the AppArmor profile {asked}"
        return Finding(Mark.WARN, what, f"systemctl restart {service}")
    return _mode(service, asked, mode.removesuffix(")"), "enforces")


def _mode(service: str, asked: str, mode: str, enforces: str) -> Finding:
    """Judge the mode of a profile; "": it cannot be seen."""
    if mode == "enforce":
        return ok(f"AppArmor {enforces} the profile {asked} on {service}")
    if not mode:
        what = f"this user cannot see whether AppArmor enforces the profile {asked} on {service}"
        return Finding(Mark.WARN, what, "run it as root, where /proc and /sys are all visible")
    what = f"AppArmor does not enforce the profile {asked}: it is in {mode} mode"
    return Finding(Mark.WARN, what, f"apparmor_parser --replace /etc/apparmor.d/{asked}")


def _not_asked(service: str, loaded: dict[str, str]) -> Finding:
    name = service.removesuffix(".service")
    if name not in loaded:
        # AppArmor is one layer more, and no document tells to install it.
        return ok(f"AppArmor has no profile {name}, and {service} asks for none")
    what = f"AppArmor has the profile {name}, but {service} does not ask for it: "
    what += "it starts unconfined"
    drop_in = f"/etc/systemd/system/{service}.d/apparmor.conf"
    remedy = f"install policy/apparmor/{service}.conf as {drop_in}, then systemctl daemon-reload"
    return Finding(Mark.WARN, what, remedy)


def _missing(units: Units, service: str, profile: str) -> Finding:
    remedy = f"apparmor_parser --replace /etc/apparmor.d/{profile}"
    what = f"AppArmor has no profile {profile}, and {service}"
    if units.profile.startswith("-"):
        return Finding(Mark.WARN, f"{what} starts without it", remedy)
    return Finding(Mark.FAIL, f"{what} does not start without it", remedy, _NOT_STARTED)


def _loaded(root: Path) -> dict[str, str] | None:
    """Return the mode of each loaded profile, such as enforce; None: they cannot be seen."""
    folder = root / _LOADED
    try:
        names = os.listdir(folder)
    except OSError:  # such as in a container, in which no securityfs is mounted
        return None
    return {name.rpartition(".")[0]: _read(folder / name / "mode").strip() for name in names}


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(_MOST).decode(errors="replace")
    except OSError:
        return ""
