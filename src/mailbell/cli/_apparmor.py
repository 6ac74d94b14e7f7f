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
        One finding; none if AppArmor is off, or does not show its profiles to this user.
    """
    if not _read(root / _ENABLED).startswith("Y"):
        return
    try:
        loaded = _loaded(root)
    except OSError:
        return
    asked = units.profile.removeprefix("-")
    if not asked:
        yield _not_asked(service, loaded)
        return
    if asked not in loaded:
        yield _missing(units, service, asked)
        return
    under = _read(root / "proc" / str(units.pid) / "attr" / "apparmor" / "current")
    if units.pid and under and under.partition(" (")[0] != asked:
        what = f"{service} was started without the AppArmor profile {asked}"
        yield Finding(Mark.WARN, what, f"systemctl restart {service}")
        return
    mode = loaded[asked]
    if mode != "enforce":
        what = f"AppArmor does not enforce the profile {asked}: it is in {mode} mode"
        yield Finding(Mark.WARN, what, f"apparmor_parser --replace /etc/apparmor.d/{asked}")
        return
    yield ok(f"AppArmor enforces the profile {asked} on {service}")


def _not_asked(service: str, loaded: dict[str, str]) -> Finding:
    name = service.removesuffix(".service")
    if name not in loaded:
        # AppArmor is one layer more, and no document tells to install it.
        return ok(f"AppArmor has no profile {name}, and {service} asks for none")
    what = f"AppArmor has the profile {name}, but {service} does not ask for it"
    drop_in = f"/etc/systemd/system/{service}.d/apparmor.conf"
    remedy = f"install policy/apparmor/{service}.conf as {drop_in}, then systemctl daemon-reload"
    return Finding(Mark.WARN, what, remedy)


def _missing(units: Units, service: str, profile: str) -> Finding:
    remedy = f"apparmor_parser --replace /etc/apparmor.d/{profile}"
    what = f"AppArmor has no profile {profile}, and {service}"
    if units.profile.startswith("-"):
        return Finding(Mark.WARN, f"{what} starts without it", remedy)
    return Finding(Mark.FAIL, f"{what} does not start without it", remedy, _NOT_STARTED)


def _loaded(root: Path) -> dict[str, str]:
    """Return the mode of each loaded profile, such as enforce or complain."""
    folder = root / _LOADED
    return {
        name.rpartition(".")[0]: _read(folder / name / "mode").strip()
        for name in os.listdir(folder)
    }


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(_MOST).decode(errors="replace")
    except OSError:
        return ""
