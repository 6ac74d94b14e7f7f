"""Asks the service manager for the state and the sockets of mailbelld's units.

With the shipped units, the service manager makes the sockets and keeps them. Process 1 then
holds the port, and passes it to mailbelld when mailbelld starts.
"""

import os
import re
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from mailbell.core.notification import Transport

__all__ = ["Units", "ask"]

SERVICE: Final = "mailbelld.service"

# sd_booted(3): systemd is the service manager of this machine.
_BOOTED: Final = "/run/systemd/system"
_LOADED: Final = "loaded"
_MISSING: Final = "not-found"
_PATIENCE: Final = 5.0  # seconds
_ENOUGH: Final = 1 << 16  # characters of an answer; a few units have some hundred
_UNIT: Final = re.compile(r"[A-Za-z0-9:_.@\\-]{1,255}\.socket")
_LISTEN: Final = re.compile(r"(?P<address>.+) \((?P<kind>Stream|Datagram)\)")
_PORT: Final = re.compile(r"(?:.*:)?(?P<port>[0-9]{1,5})")

Properties = Mapping[str, Sequence[str]]


@dataclass(frozen=True, slots=True)
class Units:
    """The present state of mailbelld's units.

    Attributes:
        state: the state of the service in systemd's words: active, inactive, failed, ...
        enabled: whether the service starts at boot or when a sender calls.
        pid: the process of the daemon; 0: the daemon does not run.
        result: how its last run ended, in systemd's word.
        ports: the ports of the active socket units, each with the name of the unit.
        paths: the paths of the active socket units, each with the name of the unit.
        broken: the socket units that the service needs and that cannot listen, each with the
            reason: not-found, masked, bad-setting, error, or failed with its result.
        user: the user of the service; "": root, who may become another one.
        profile: the AppArmor profile of the service, with "-" in front if it may be missing.
        load: whether systemd could read the unit, in its words: loaded, masked, bad-setting,
            error; "": it did not answer. If not loaded, little else is known.
    """

    state: str
    enabled: bool = False
    pid: int = 0
    result: str = ""
    ports: Mapping[tuple[Transport, int], str] = field(default_factory=dict)
    paths: Mapping[str, str] = field(default_factory=dict)
    broken: Mapping[str, str] = field(default_factory=dict)
    user: str = ""
    profile: str = ""
    load: str = _LOADED

    @property
    def waiting(self) -> bool:
        """Whether a connection would start the daemon."""
        return bool(self.ports or self.paths)


def _systemctl(words: Sequence[str]) -> str:
    """Ask systemd; return "" if it does not answer."""
    try:
        done = subprocess.run(  # noqa: S603 (the words are ours)
            ["systemctl", "--no-pager", "--no-ask-password", *words],  # noqa: S607 (as a person would)
            check=False, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace",
            timeout=_PATIENCE, env={**os.environ, "LC_ALL": "C"},
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout[:_ENOUGH] if done.returncode == 0 else ""


def ask(
    systemctl: Callable[[Sequence[str]], str] = _systemctl,
    booted: str = _BOOTED,
    service: str = SERVICE,
) -> Units | None:
    """Ask the service manager about a daemon. Nothing is started or changed.

    Args:
        systemctl: takes the words of a command line, and returns the output.
        booted: a folder that exists if systemd is the service manager.
        service: the unit of the daemon.

    Returns:
        The units; None if systemd does not run, or has no such service.
    """
    if not os.path.isdir(booted):
        return None
    names = "LoadState,ActiveState,UnitFileState,MainPID,Result,TriggeredBy,Requires,User"
    properties = f"--property={names},AppArmorProfile"
    found = next(_blocks(systemctl(["show", properties, "--", service])), {})
    load, state = _one(found, "LoadState"), _one(found, "ActiveState")
    if load == _MISSING:
        return None
    if load != _LOADED:
        return Units(state, load=load)
    needed = _one(found, "Requires").split()
    triggers = dict.fromkeys([*_one(found, "TriggeredBy").split(), *needed])
    sockets = _sockets([unit for unit in triggers if _UNIT.fullmatch(unit)], systemctl)
    if sockets is None:
        return Units(state, load="")
    pid, user = _one(found, "MainPID"), _one(found, "User")
    return Units(
        state=state,
        enabled=_one(found, "UnitFileState") == "enabled",
        pid=int(pid) if pid.isdecimal() else 0,
        result=_one(found, "Result"),
        ports=sockets.ports,
        paths=sockets.paths,
        broken={unit: why for unit, why in sockets.broken.items() if unit in needed},
        user="" if user in {"root", "0"} else user,
        profile=_one(found, "AppArmorProfile"),
    )


@dataclass(frozen=True, slots=True)
class _Sockets:
    """What socket units listen on, and why others do not."""

    ports: dict[tuple[Transport, int], str] = field(default_factory=dict)
    paths: dict[str, str] = field(default_factory=dict)
    broken: dict[str, str] = field(default_factory=dict)


def _sockets(units: Sequence[str], systemctl: Callable[[Sequence[str]], str]) -> _Sockets | None:
    """Ask for socket units; return None if systemd does not answer."""
    sockets = _Sockets()
    if not units:
        return sockets
    names = "Id,LoadState,ActiveState,Result,Listen"
    answer = systemctl(["show", f"--property={names}", "--", *units])
    if not answer:
        return None
    for found in _blocks(answer):
        unit = _one(found, "Id")
        state, loaded = _one(found, "ActiveState"), _one(found, "LoadState")
        if state == "active":
            for listens in found.get("Listen", ()):
                _note(listens, unit, sockets.ports, sockets.paths)
        # A unit that listens still, and that systemd cannot read any more, stops its service too.
        if loaded not in {_LOADED, ""}:
            sockets.broken[unit] = loaded
        elif state == "failed":
            sockets.broken[unit] = f"failed, result {_one(found, 'Result')}"
    return sockets


def _note(
    listens: str, unit: str, ports: dict[tuple[Transport, int], str], paths: dict[str, str]
) -> None:
    """Read one place, as in `[::]:79 (Stream)` or `/run/mailbell/mailbell.sock (Stream)`."""
    match = _LISTEN.fullmatch(listens)
    if match is None:
        return
    if match["address"].startswith("/"):
        paths[match["address"]] = unit
    elif port := _PORT.fullmatch(match["address"]):
        transport = Transport.TCP if match["kind"] == "Stream" else Transport.UDP
        ports[transport, int(port["port"])] = unit


def _blocks(text: str) -> Iterator[Properties]:
    """Read the output of `systemctl show`: the properties of one unit after another."""
    for block in text.strip().split("\n\n"):
        found: dict[str, list[str]] = {}
        for line in block.splitlines():
            name, _, value = line.partition("=")
            found.setdefault(name, []).append(value)
        yield found


def _one(found: Properties, name: str) -> str:
    return next(iter(found.get(name, ())), "")
