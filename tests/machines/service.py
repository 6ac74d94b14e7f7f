"""What the claims about mailbelld share: its state, calls under way, changes that are undone."""

import json
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any, Final

from machines.guest import SLOW, Guest

__all__ = [
    "CONFIGURATION", "MANY", "SERVICE", "Call", "Calls", "Heard", "calls", "configured",
    "log_mark", "logged_after", "running", "running_anew", "status", "subscribed",
]  # fmt: skip

SERVICE: Final = "mailbelld.service"
CONFIGURATION: Final = "/etc/mailbell/mailbelld.toml"
# So many calls from one machine are over the limits of one source.
MANY: Final = '[limits]\nrate = "1000/s"\nburst = 100000\n'

_HEARD: Final = "/root/heard"

_numbers = count()


@dataclass(frozen=True)
class Call:
    """One connection: when it began and ended, in seconds since 1970, and how."""

    begun: float
    ended: float
    how: str


@dataclass(frozen=True)
class Calls:
    """Connections that are being made in the machine, in a process of their own."""

    guest: Guest
    folder: str

    def wait_for(self, number: int, *, since: float = 0.0) -> None:
        """Wait until so many that began after a time have ended, in whatever way."""
        self.guest.until(
            f"test $(awk '$1 > {since:.6f}' {self.folder}/called | wc -l) -ge {number}",
            seconds=2 * SLOW,
        )

    def all(self) -> list[Call]:
        """Begin no more; return all, when they have ended."""
        self.guest.run(f"touch {self.folder}/enough")
        self.guest.until(f"test -e {self.folder}/done", seconds=2 * SLOW)
        lines = self.guest.run(f"cat {self.folder}/called").splitlines()
        return [Call(float(a), float(b), how) for a, b, how in map(str.split, lines)]


@contextmanager
def calls(
    guest: Guest, *, pause: float = 0.05, number: int = 6000, line: str = "nm_notifyuser\r\n",
    address: str = "127.0.0.1",
) -> Iterator[Calls]:  # fmt: skip
    """Make connections in the machine; from then on the first one is at least being made.

    Args:
        guest: the machine.
        pause: seconds from one to the next.
        number: how many at most.
        line: what each one sends.
        address: where to.
    """
    folder = f"/root/calls/{next(_numbers)}"
    guest.put(Path(__file__).with_name("calls.py"), "/root")
    words = ["/root/calls.py", folder, address, str(pause), str(number), line]
    unit = f"calls-{Path(folder).name}"
    guest.run(
        f"rm -rf {folder}; mkdir -p {folder}; systemd-run --quiet --collect --unit={unit}"
        f" /usr/bin/python3 {shlex.join(words)}"
    )
    guest.until(f"test -e {folder}/called")
    try:
        yield Calls(guest, folder)
    finally:
        guest.ran(f"systemctl stop {unit}")


def status(guest: Guest) -> dict[str, Any]:
    """Return what `mailbell status --json` prints."""
    found: dict[str, Any] = json.loads(guest.run("mailbell status --json"))
    return found


def running(guest: Guest) -> int:
    """Wait until mailbelld serves; return its process."""
    guest.until(f"systemctl is-active {SERVICE}", seconds=2 * SLOW)
    (pid,) = guest.processes(SERVICE)
    return pid


def running_anew(guest: Guest, before: int) -> int:
    """Wait until another mailbelld serves than the one before; return its process."""
    guest.until(
        f"systemctl is-active {SERVICE} && test $(systemctl show -P MainPID {SERVICE}) != {before}",
        seconds=2 * SLOW,
    )
    return running(guest)


@contextmanager
def configured(guest: Guest, toml: str) -> Iterator[None]:
    """Let mailbelld read a configuration until the end of the block."""
    guest.write(CONFIGURATION, toml)
    guest.run(f"systemctl restart {SERVICE}")
    try:
        yield
    finally:
        guest.run(f"rm {CONFIGURATION}; systemctl restart {SERVICE}")


@dataclass(frozen=True)
class Heard:
    """What a subscriber in the machine has heard so far."""

    guest: Guest

    def all(self) -> list[dict[str, Any]]:
        """Return the notifications."""
        return [json.loads(line) for line in self.guest.run(f"cat {_HEARD}").splitlines()]

    def wait_for(self, **wanted: str) -> None:
        """Wait for a notification that has these members."""
        words = " | ".join(f'grep -F \'"{name}":"{value}"\'' for name, value in wanted.items())
        self.guest.until(f"tr -d ' ' <{_HEARD} | {words}")


@contextmanager
def subscribed(guest: Guest) -> Iterator[Heard]:
    """Subscribe in the machine, beside others, until the end of the block."""
    others = status(guest)["subscribers"]
    guest.run(
        f"rm -f {_HEARD}; systemd-run --quiet --collect --unit=hearing"
        f" -p StandardOutput=file:{_HEARD} -p StandardError=journal"
        " /usr/local/bin/mailbell watch --json"
    )
    try:
        guest.until(f"mailbell status --json | tr -d ' ' | grep -F '\"subscribers\":{others + 1},'")
        yield Heard(guest)
    finally:
        guest.ran("systemctl stop hearing")


def log_mark(guest: Guest) -> str:
    """Return where the log of the machine ends now."""
    # Not a cursor: after one, the journalctl of systemd 252 leaves out the first line of a unit.
    return guest.run("journalctl --sync; date +@%s.%6N").strip()


def logged_after(guest: Guest, mark: str, unit: str = SERVICE) -> str:
    """Return what was logged by a unit and about it, since a mark."""
    guest.run("journalctl --sync")
    return guest.journal(unit, f"--since={mark}")
