"""What systemd knows of a service, and what it is told."""

import os
import re
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final, NamedTuple

from mailbell.core.errors import ConfigurationError, OperatingSystemError
from mailbell.core.escape import printable
from mailbell.installation._programs import Ended, find, run
from mailbell.installation.services import Service

__all__ = ["OLDEST", "State", "call", "is_running", "require", "start", "state"]

OLDEST: Final = 252
"""The oldest systemd that understands every line of the units."""

_BOOTED: Final = "/run/systemd/system"  # sd_booted(3)
# Seconds. A service may wait for the network, which systemd gives two minutes to come.
_PATIENCE: Final = 240.0
_MOST_SHOWN: Final = 300  # characters of a log
_MOST_LINES: Final = 5
# systemctl(1), `--timestamp=us+utc`. A whole second would hide an upgrade right after a start.
_MOMENT: Final = "%a %Y-%m-%d %H:%M:%S.%f UTC"
_RUNS: Final = frozenset({"active", "activating", "reloading"})


class State(NamedTuple):
    """The state of a unit.

    Attributes:
        is_loaded: whether there is such a unit.
        is_enabled: whether it starts at boot.
        is_active: whether it runs or listens, or is about to.
        since: when it became active, in seconds since 1970.
        is_ready: whether it has become active. One that fails again and again has not.
    """

    is_loaded: bool
    is_enabled: bool
    is_active: bool
    since: float
    is_ready: bool = False


def is_running() -> bool:
    """Tell whether systemd is the service manager of this machine, and not only installed."""
    return os.path.isdir(_BOOTED)


def require() -> None:
    """Refuse a machine without systemd, or with one that would ignore lines of the units.

    Raises:
        ConfigurationError: the reason.
    """
    if find("systemctl") is None:
        what = "this machine has no systemd, which runs the service"
        raise ConfigurationError(what, "run mailbelld or mailbell-sender in the foreground")
    said = run("systemctl", "--version").said
    version = re.match(r"systemd ([0-9]{1,5})\b", said)
    if not version or int(version[1]) < OLDEST:
        shown = printable(said.partition("\n")[0])[:_MOST_SHOWN]
        what = f"the units need systemd {OLDEST}, and this is {shown or 'an unknown one'}"
        raise ConfigurationError(what, "run mailbelld or mailbell-sender in the foreground")


def state(unit: str) -> State:
    """Ask for a unit.

    Args:
        unit: its name.

    Returns:
        Its state; if systemd does not run, whether it is enabled, and nothing else.
    """
    if not is_running():
        done = run("systemctl", "is-enabled", unit, environ={"SYSTEMD_OFFLINE": "1"})
        is_enabled = done.said.strip() == "enabled"
        return State(is_enabled, is_enabled, is_active=False, since=0.0)
    names = "LoadState,ActiveState,UnitFileState,ActiveEnterTimestamp"
    done = run("systemctl", "show", "--timestamp=us+utc", f"--property={names}", unit)
    told = {name: value for name, _, value in (x.partition("=") for x in done.said.splitlines())}
    return State(
        is_loaded=told.get("LoadState") == "loaded",
        is_enabled=told.get("UnitFileState") == "enabled",
        is_active=told.get("ActiveState") in _RUNS,
        since=_moment(told.get("ActiveEnterTimestamp", "")),
        is_ready=told.get("ActiveState") in _RUNS - {"activating"},
    )


def _moment(text: str) -> float:
    """Read a time; 0: there is none, since the unit was never active."""
    try:
        return datetime.strptime(text, _MOMENT).replace(tzinfo=UTC).timestamp()
    except ValueError:
        return 0.0


def call(*words: str) -> Ended:
    """Give systemctl a command.

    Args:
        words: the command and its arguments.

    Returns:
        How it has ended. If systemd does not run, it works on the files alone.
    """
    offline = {} if is_running() else {"SYSTEMD_OFFLINE": "1"}
    words = ("systemctl", "--no-ask-password", "--quiet", *words)
    return run(*words, patience=_PATIENCE, environ=offline)


def start(verb: str, service: Service, units: Sequence[str]) -> None:
    """Start a service, and wait until it says that it is ready.

    Args:
        verb: `start` or `restart`.
        service: the service.
        units: what is started, the service last.

    Raises:
        OperatingSystemError: it does not start. The reason is what it has logged.
    """
    begun = int(time.time())
    done = call(verb, *units)
    if done.code:
        what = f"{service.unit} does not start: {_reason(service, begun) or done.why}"
        remedy = "mailbell check" if service.name == "mailbelld" else "mailbell sender check"
        raise OperatingSystemError(what, f"see why: {remedy}")


def _reason(service: Service, since: int) -> str:
    """Return what the log says of the reason why a service does not start; "": nothing.

    systemd binds a socket in a process that ends at once, and that process has logged the reason.
    The journal often looks too late for its unit, so that `--unit` misses the line. The field UNIT
    comes from systemd itself (systemd.journal-fields(7)); any user may write it, so root's counts.
    """
    matches = " + ".join(f"_UID=0 UNIT={unit} + _SYSTEMD_UNIT={unit}" for unit in service.units)
    done = run("journalctl", "--no-pager", "--output=cat", f"--since=@{since}", *matches.split())
    said = done.said.splitlines()
    begin = f"{service.name}: "
    lines = [line.removeprefix(begin) for line in said if line.startswith(begin)]
    lines = lines or [line for line in said if "Failed to " in line][:1]
    return printable("; ".join(lines[:_MOST_LINES]))[:_MOST_SHOWN]
