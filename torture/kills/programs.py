"""The five programs as they are installed, and how they are configured here.

The intervals are short, so that a round takes about a second. Everything else is as it is shipped.
"""

import os
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from harness.activation import listening, passing
from harness.daemon import configuration
from harness.ports import free_port
from harness.rung import hook_socket, user_name
from harness.sending import DOOR, sender_configuration, state_folder
from harness.watch import DOORS

from torture.kills.plan import ACCOUNTS, Program

__all__ = ["LOOK", "UNKNOWN", "Place", "address_of", "starters"]

UNKNOWN: Final = "127.9.200.1"
"""An address of this machine that is no account's."""

LOOK: Final = ("sh", "-c", 'exec date "+$1 %s%N" >>"$0"')
"""What the agent runs to look for mail: its further words are a file and an account."""

# systemd's own Backlog=.
_BACKLOG: Final = 4096
# No source is refused because it rings often: a refused ring is owed to nobody.
_LISTENER: Final = """
[limits]
rate = "1000000/s"
burst = 1000000
total_rate = "1000000/s"
connections_per_source = 256
[coalesce]
interval = "100ms"
"""
_SENDER: Final = '[send]\ninterval = "200ms"\nrate = "100000/s"\nbackoff = "1s..2s"\n'
_AGENT: Final = """
[defaults]
settle = "20ms"
settle_max = "100ms"
min_gap = "200ms"
backoff = "100ms..1s"
poll = "0"
"""
_SUBSCRIBER: Final = Path(__file__).with_name("subscriber.py")


@dataclass
class Place:
    """Where the programs of one world meet.

    Attributes:
        directory: for all their files.
        is_held: the sockets of the listener are held while it is away, as the shipped units do;
            if not, it binds them itself, and whoever connects meanwhile is refused.
        port: of the listener.
        held: the sockets of each daemon that are passed to it, by their names.
    """

    directory: Path
    is_held: bool
    port: int = 0
    held: dict[Program, dict[str, list[socket.socket]]] = field(default_factory=dict)

    @property
    def hook(self) -> Path:
        """The sender's socket for hooks."""
        return self.directory / "hook"

    @property
    def local(self) -> Path:
        """The listener's socket for subscribers."""
        return self.directory / "mailbell.sock"

    def diary(self, program: Program) -> Path:
        """Return the file in which a program notes that it has looked."""
        return self.directory / f"{program}.diary"

    def prepare(self, stack: ExitStack, look: Sequence[str]) -> None:
        """Make the sockets that are held, and write all configurations.

        Args:
            stack: closes the sockets.
            look: what the agent runs.
        """
        self.directory.chmod(0o755)  # the daemons run as other users
        self.port = free_port()
        self.held[Program.SENDER] = {"hook": [stack.enter_context(hook_socket(self.directory))]}
        self.held[Program.LISTENER] = {}
        if self.is_held:
            self._hold(stack)
        state_folder(self.directory)
        self._write("listener.toml", self._listener())
        self._write("sender.toml", self._sender())
        self._write("agent.toml", self._agent(look)).chmod(0o600)

    def _hold(self, stack: ExitStack) -> None:
        control = self.directory / "control"
        places = (
            (Program.LISTENER, "tcp", socket.AF_INET, ("0.0.0.0", self.port)),  # noqa: S104  accounts have addresses
            (Program.LISTENER, "local", socket.AF_UNIX, str(self.local)),
            (Program.SENDER, "control", socket.AF_UNIX, str(control)),
        )
        for program, name, family, address in places:
            sock = stack.enter_context(listening(family, socket.SOCK_STREAM, address))
            sock.listen(_BACKLOG)
            self.held[program][name] = [sock]
        for path in (self.local, control):
            path.chmod(0o660)

    def _write(self, name: str, text: str) -> Path:
        path = self.directory / name
        path.write_text(text)
        return path

    def _listener(self) -> str:
        accounts = "".join(
            f'[[account]]\nname = "{name}"\naddresses = ["{address_of(name)}"]\n'
            for name in ACCOUNTS
        )
        tcp = (f"0.0.0.0:{self.port}",)
        return configuration(self.directory, tcp=tcp, more=_LISTENER + accounts)

    def _sender(self) -> str:
        accounts = "".join(
            f'[[account]]\nname = "{name}"\ntargets = ["{address_of(name)}:{self.port}"]\n'
            for name in ACCOUNTS
        )
        uid = os.geteuid()
        trusted = f'trusted = ["{user_name(uid)}"]' if uid else ""
        return sender_configuration(self.directory, _SENDER + accounts, listen=trusted)

    def _agent(self, look: Sequence[str]) -> str:
        words = [*look, str(self.diary(Program.AGENT)), "{account}"]
        command = ", ".join(f"'{word}'" for word in words)  # TOML: nothing is escaped in it
        names = ", ".join(f'"{name}"' for name in ACCOUNTS)
        job = f'[[job]]\nname = "look"\naccounts = [{names}]\ncommand = [{command}]\n'
        return _AGENT + job


def address_of(account: str) -> str:
    """Return the address of this machine at which an account is rung."""
    return f"127.9.0.{ACCOUNTS.index(account) + 1}"


def starters(
    place: Place, through: Mapping[Program, Sequence[str]]
) -> "dict[Program, Callable[[], subprocess.Popen[bytes]]]":
    """Return what starts each program that runs all the time.

    Args:
        place: where they meet.
        through: a program that runs another one, as in `nice ...`.
    """
    directory = place.directory
    words = {
        Program.LISTENER: ("-m", DOORS["mailbelld"], "--config", f"{directory}/listener.toml"),
        Program.SENDER: (*DOOR, "--config", f"{directory}/sender.toml"),
        Program.AGENT: (
            "-c", "from mailbell.cli import main; main()",
            "run", "--config", f"{directory}/agent.toml", "--socket", str(place.local),
        ),
        Program.SUBSCRIBER: (
            str(_SUBSCRIBER), str(place.local), str(place.diary(Program.SUBSCRIBER)),
            f"{directory}/cursor", *ACCOUNTS,
        ),
    }  # fmt: skip
    return {
        program: _starter(place, program, (*through.get(program, ()), sys.executable, *rest))
        for program, rest in words.items()
    }


def _starter(
    place: Place, program: Program, words: Sequence[str]
) -> "Callable[[], subprocess.Popen[bytes]]":
    sockets = place.held.get(program, {})
    manager, descriptors = passing(sockets) if sockets else ([], [])
    environ = {
        # Each world has its own locks of the agent. No service manager of ours waits for a word.
        **{name: value for name, value in os.environ.items() if name != "NOTIFY_SOCKET"},
        "HOME": str(place.directory), "XDG_STATE_HOME": f"{place.directory}/kept",
    }  # fmt: skip

    def start() -> "subprocess.Popen[bytes]":
        with (place.directory / f"{program}.log").open("ab") as log:
            return subprocess.Popen(
                [*manager, *words],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                env=environ, pass_fds=descriptors,
            )  # fmt: skip

    return start
