"""Examines a service of systemd: its state, its sockets, its user, and AppArmor.

What is asked here is the service manager. So it is the same for each user who runs the check.
"""

import pwd
from collections.abc import Iterator
from typing import Final

from mailbell.cli._apparmor import confinement
from mailbell.cli._finding import Finding, Mark, ok
from mailbell.cli._in_time import in_time
from mailbell.cli._units import Units

__all__ = ["service_findings"]

_LOOK_UP: Final = 10.0  # seconds; it takes a millisecond, unless it asks a directory server
_NOT_STARTED: Final = 71  # the exit code of OperatingSystemError


def service_findings(units: Units, name: str) -> Iterator[Finding]:
    """Examine a service.

    Args:
        units: its state, as the service manager tells it.
        name: the name of its unit.

    Yields:
        Every finding.
    """
    if units.load != "loaded":
        yield _unread(units.load, name)
        return
    yield _state(units, name)
    for unit, why in units.broken.items():
        yield _broken(unit, why, name)
    if units.user:
        yield _user(units.user, name)
    yield from confinement(units, name)


def _unread(load: str, name: str) -> Finding:
    """Judge a service whose unit systemd has not read, so that nothing else of it is known."""
    if load == "masked":
        what, remedy = f"{name} is masked", f"systemctl unmask {name}"
        return Finding(Mark.FAIL, what, remedy, _NOT_STARTED)
    remedy = f"see why: systemctl status {name}"
    if not load:
        return Finding(Mark.WARN, f"systemd does not tell the state of {name}", remedy)
    what = f"systemd cannot start {name}, which is {load}"
    return Finding(Mark.FAIL, what, f"{remedy}; then systemctl edit {name}", _NOT_STARTED)


def _state(units: Units, name: str) -> Finding:
    if units.state == "active":
        return ok(f"{name} is active (process {units.pid})")
    if units.state != "inactive":
        ended = f", result {units.result}" if units.result not in {"", "success"} else ""
        what = f"{name} is {units.state}{ended}"
        return Finding(Mark.WARN, what, f"read its log: journalctl -u {name}")
    if units.waiting:
        return ok(f"{name} is inactive, and starts at the first connection")
    if units.enabled:
        return Finding(Mark.WARN, f"{name} is enabled, but stopped", f"systemctl start {name}")
    return ok(f"{name} is installed, but not enabled")


def _broken(unit: str, why: str, service: str) -> Finding:
    """Judge a socket unit that the service needs, and that does not listen."""
    if why.startswith("failed"):
        what = f"{unit} is {why}, and {service} needs it"
        return Finding(
            Mark.WARN, what, f"systemctl start {unit}; if it fails: journalctl -u {unit}"
        )
    what = f"{service} needs {unit}, which is {why}"
    remedy = f"see why: systemctl status {unit}; then systemctl edit {unit}"
    if why == "not-found":
        remedy = "run mailbell install again, which puts it in place"
    elif why == "masked":
        remedy = f"systemctl unmask {unit}"
    return Finding(Mark.FAIL, what, remedy, _NOT_STARTED)


def _user(user: str, service: str) -> Finding:
    """Judge the user of a service. systemd also takes a number, which no file need know."""
    try:
        if not user.isdecimal():
            in_time(lambda: pwd.getpwnam(user), _LOOK_UP)
    except TimeoutError:
        what = f"the look-up of the user {user} takes longer than {_LOOK_UP:.0f} seconds"
        return Finding(Mark.WARN, what, "see which services /etc/nsswitch.conf asks")
    except KeyError:
        what = f"{service} runs as the user {user}, whom this machine does not have"
        remedy = f"systemd-sysusers, or correct User=: systemctl edit {service}"
        return Finding(Mark.FAIL, what, remedy, _NOT_STARTED)
    return ok(f"the user {user} exists")
