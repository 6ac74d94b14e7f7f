"""The programs of a soak, their configurations, and where they are reached.

All of them live in a network namespace in which whole networks are local. So there are enough
sources, everything has its usual port, and nothing leaves the machine.
"""

import os
import pwd
import shutil
import sys
from pathlib import Path
from typing import Any, Final

from torture.soak.program import Program

__all__ = [
    "ACCOUNTS", "COMSAT", "DNS", "IPV4", "IPV6", "LAPTOP", "NAMES", "PORT", "SET_UP", "SILENT",
    "TIMEOUT", "House",
]  # fmt: skip

IPV4: Final = "198.18.0.0/15"  # RFC 2544: for benchmarks
IPV6: Final = "2001:db8::/32"  # RFC 3849: for documents
NOWHERE: Final = "198.51.100.0/24"  # RFC 5737; no route leads there
PORT: Final = 79
LAPTOP: Final = ("198.18.0.1", "2001:db8::1")
"""Where mailbelld has a UDP socket of its own. By TCP it listens on all addresses."""
SILENT: Final = 7979
"""At this port of every address nobody answers."""
DNS: Final = ("127.0.0.1", 53)
COMSAT: Final = ("127.0.0.1", 5512)
TIMEOUT: Final = 60
"""Seconds that a command of the agent may take."""
NAMES: Final = ("laptop.example.net", "gone.example.net", "mute.example.net")
"""Names of targets: one that the name server knows, one that does not exist, and one that the
name server does not answer."""
ACCOUNTS: Final = ("anna", "bob", "carl", "dora", "emil", "fritz", "greta", "hans", "ida")
"""Accounts of mailbell-sender that its configuration lists."""

SET_UP: Final = f"""
mount --bind "$1" /etc/resolv.conf && shift &&
ip link set lo up && ip -6 address add {LAPTOP[1]}/128 dev lo nodad &&
ip route add local {IPV4} dev lo && ip -6 route add local {IPV6} dev lo &&
ip route add unreachable {NOWHERE} && exec "$@"
"""
"""What `sh` does in the new namespaces of network and mounts, with a resolv.conf and a command."""

_LISTENER: Final = """\
unmatched = "none"
[listen]
tcp = ["0.0.0.0:{port}", "[::]:{port}"]
udp = ["{laptop[0]}:{port}", "[{laptop[1]}]:{port}"]
user = "nobody"
[socket]
path = "{folder}/mailbell.sock"
group = ""
[protocol]
deadline = "5s"
[limits]
# So few sources that the tables are full soon and turn over all the time.
sources = 256
[[account]]
name = "work"
sources = ["0.0.0.0/0", "::/0"]
[[account]]
name = "home"
sources = ["198.18.0.0/24"]
[[account]]
name = "club"
sources = ["2001:db8:0:1::/64", "198.18.1.0/24"]
"""
_SENDER: Final = """\
[listen]
hook = "{folder}/hook"
control = "{folder}/control"
comsat = ["{comsat[0]}:{comsat[1]}"]
cyrus = "{folder}/cyrus"
user = "nobody"
group = ""
trusted = ["{user}"]
[last_used]
ttl = "1m"
allow = ["{ipv4}", "{ipv6}"]
[store]
url = "sqlite://{folder}/state/state.db"
[default]
targets = ["last-used"]
[[account]]
name = "anna"
targets = ["{laptop[0]}"]
[[account]]
name = "bob"
[[account]]
name = "carl"
targets = ["{laptop[0]}:80"]
[[account]]
name = "dora"
targets = ["{laptop[0]}:{silent}", "{laptop[0]}"]
[[account]]
name = "emil"
targets = ["{names[0]}"]
[[account]]
name = "fritz"
targets = ["{names[1]}", "{names[2]}"]
[[account]]
name = "greta"
targets = ["{laptop[0]}"]
transport = "udp"
[[account]]
name = "hans"
enabled = false
[[account]]
name = "ida"
targets = ["last-used", "[{laptop[1]}]"]
"""


class House:
    """The programs, each with its files.

    Args:
        folder: for all files; other users must be able to pass through it.
        listener: what the interpreter runs as mailbelld.

    Attributes:
        listener: mailbelld.
        sender: mailbell-sender.
        agent: mailbell run.
        hook_program: the installed mailbell-hook; None: it is not there.
    """

    def __init__(
        self, folder: Path, listener: tuple[str, ...] = ("-m", "mailbell.cli.mailbelld")
    ) -> None:
        self.folder = folder
        places: dict[str, Any] = {
            "folder": folder, "port": PORT, "laptop": LAPTOP, "silent": SILENT, "names": NAMES,
            "ipv4": IPV4, "ipv6": IPV6, "comsat": COMSAT,
            "user": pwd.getpwuid(os.geteuid()).pw_name,
        }  # fmt: skip
        self._own(folder / "state")
        listening, sending = folder / "mailbelld.toml", folder / "sender.toml"
        listening.write_text(_LISTENER.format(**places))
        sending.write_text(_SENDER.format(**places))
        python = sys.executable
        self.listener = Program(
            "mailbelld", [python, *listener, "--config", str(listening)], folder
        )
        self.sender = Program(
            "mailbell-sender",
            [python, "-m", "mailbell.cli.mailbell_sender", "--config", str(sending)],
            folder,
        )
        self.agent = Program(
            "mailbell run", [*self._agent_words(python)], folder,
            environ={"HOME": str(folder), "XDG_RUNTIME_DIR": str(folder / "run")},
            ready="event=listening",
        )  # fmt: skip
        found = Path(python).with_name("mailbell-hook")
        self.hook_program = str(found) if found.exists() else None

    @property
    def programs(self) -> tuple[Program, Program, Program]:
        """All of them, in the order in which they start."""
        return self.listener, self.sender, self.agent

    def path(self, name: str) -> str:
        """Return the path of a socket: mailbell.sock, hook, control or cyrus."""
        return str(self.folder / name)

    def store_bytes(self) -> int:
        """Return how much the sender's database takes on the disk."""
        return sum(file.stat().st_size for file in (self.folder / "state").iterdir())

    def _own(self, state: Path) -> None:
        """Make the folder of the state, as the user that mailbell-sender becomes."""
        nobody = pwd.getpwnam("nobody")
        state.mkdir(mode=0o700)
        os.chown(state, nobody.pw_uid, nobody.pw_gid)
        (self.folder / "run").mkdir(mode=0o700)

    def _agent_words(self, python: str) -> tuple[str, ...]:
        return (
            python, "-m", "mailbell", "run", "--no-on-start", "--no-network-up",
            "--settle=200ms", "--settle-max=2s", "--min-gap=5s", "--poll=0",
            f"--timeout={TIMEOUT}s", "--socket", self.path("mailbell.sock"),
            "--", shutil.which("true") or "/bin/true",
        )  # fmt: skip
