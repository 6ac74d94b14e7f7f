"""Hosts in namespaces for the documents: a mail server, a router, a person's machine.

On each of them runs what its owner would run: the real mailbelld, mailbell-sender and commands of
the tests' environment. Firewalls and tunnels are Debian's, in a system that has booted
(`packages.system`) with the network of one of the hosts.
"""

import os
import pwd
import select
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from documents.blocks import Step
from harness.daemon import LINE, PATIENCE, Daemon, configuration, started
from harness.netns import Namespace, another_host, namespaces
from harness.ordinary import NOBODY
from harness.sending import Sender, sender_configuration, sending
from packages.roots import clean_root, require_roots
from packages.system import Ran

__all__ = [
    "Commands", "Home", "call", "ending", "filtered", "home", "is_let_in", "listener", "ringer",
    "root",
]  # fmt: skip

_PACKAGES: Final = (
    "nftables", "ufw", "firewalld", "wireguard-tools", "wireguard-go", "prometheus",
    "prometheus-node-exporter", "python3-venv", "sqlite3",
)  # fmt: skip
_MAILBELL: Final = (sys.executable, "-c", "from mailbell.cli import main; main()")


def root() -> Path:
    """Return the root of the tests of docs/networks.md and docs/operating.md: one for both."""
    require_roots(stages="`documents`")
    return clean_root("trixie", *_PACKAGES)


@contextmanager
def ending(process: "subprocess.Popen[str]") -> Iterator["subprocess.Popen[str]"]:
    """Have a process that ends with the block at the latest."""
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


@dataclass(frozen=True)
class Commands:
    """Types commands of mailbell on a host.

    Attributes:
        host: the host.
        environ: where the daemons are that the commands ask.
    """

    host: Namespace
    environ: Mapping[str, str] = field(default_factory=dict)

    def __call__(self, step: Step) -> Ran:
        words = step.command.split()
        assert words[0] == "mailbell"
        with ending(self.start(*words[1:])) as process:
            said, _ = process.communicate(timeout=PATIENCE)
        return Ran(process.returncode, said)

    def start(self, *words: str) -> "subprocess.Popen[str]":
        """Start a command."""
        variables = [f"{name}={value}" for name, value in self.environ.items()]
        return subprocess.Popen(
            [*self.host.enter, "env", *variables, *_MAILBELL, *words],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip


@dataclass(frozen=True)
class Home:
    """A home behind a router. The router forwards nothing yet.

    Attributes:
        mx: the mail server, 192.0.2.1 and 2001:db8::1.
        router: 198.51.100.9 on its Internet side, which is `cable0`; `cable1` is the home.
        laptop: 192.168.1.7, 192.168.1.8 and, in the network 2001:db8:1::/64, ::7.
    """

    mx: Namespace
    router: Namespace
    laptop: Namespace


@contextmanager
def home() -> Iterator[Home]:
    """Make a home: three hosts, which end with the block."""
    with (
        namespaces(
            ["198.51.100.9/24", "2001:db8::9/64"], ["192.0.2.1/24", "2001:db8::1/64"]
        ) as two,
        another_host(
            two.server,
            ["192.168.1.1/24", "2001:db8:1::1/64"],
            ["192.168.1.7/24", "192.168.1.8/24", "2001:db8:1::7/64"],
        ) as laptop,
    ):
        router, mx = two.server, two.client
        for family in ("ipv4/conf/all", "ipv6/conf/all"):
            router.run("sh", "-c", f"echo 1 >/proc/sys/net/{family}/forwarding")
        router.run("ip", "route", "add", "192.0.2.0/24", "dev", "cable0")
        mx.run("ip", "route", "add", "198.51.100.0/24", "dev", "cable0")
        mx.run("ip", "-6", "route", "add", "2001:db8:1::/64", "via", "2001:db8::9")
        yield Home(mx, router, laptop)


def filtered(host: Namespace, folder: Path, text: str) -> None:
    """Load lines for nft on a host.

    Args:
        host: the host.
        folder: for a file.
        text: the lines.
    """
    file = folder / "lines.nft"
    file.write_text(text)
    host.run("nft", "--file", str(file))


@contextmanager
def listener(
    folder: Path, host: Namespace, *addresses: str, more: str = ""
) -> Iterator[tuple[Daemon, Commands]]:
    """Run mailbelld on port 79 of a host.

    Args:
        folder: for its files; it is made.
        host: the host.
        addresses: where it listens; every address by default.
        more: further tables of its configuration.

    Yields:
        It, and commands that ask it.
    """
    folder.mkdir(mode=0o755)
    where = [f"{address}:79" for address in addresses or ("0.0.0.0", "[::]")]
    # Each ring is told at once, and none stands for two.
    toml = configuration(folder, tcp=where, more=f'{more}\n[coalesce]\ninterval = "10ms"')
    with started(folder, toml, command=host.enter) as daemon:
        environ = {"MAILBELL_SOCKET": str(daemon.path), "MAILBELL_DAEMON_USER": str(NOBODY)}
        yield daemon, Commands(host, environ)


@contextmanager
def ringer(folder: Path, host: Namespace, accounts: str) -> Iterator[tuple[Sender, Commands]]:
    """Run mailbell-sender on a host.

    Args:
        folder: for its files; it is made.
        host: the host.
        accounts: tables of its configuration.

    Yields:
        It, and commands that ask it.
    """
    folder.mkdir(mode=0o755)
    listen = f'trusted = ["{pwd.getpwuid(os.geteuid()).pw_name}"]'
    # No ring waits for an earlier one.
    more = f'[send]\ninterval = "10ms"\n{accounts}'
    toml = sender_configuration(folder, more, listen=listen)
    with sending(folder, toml, command=host.enter) as sender:
        environ = {
            "MAILBELL_SENDER_SOCKET": str(sender.control), "MAILBELL_SENDER_USER": str(NOBODY),
        }  # fmt: skip
        yield sender, Commands(host, environ)


@contextmanager
def call(host: Namespace, source: str, target: str, port: int = 79) -> Iterator[socket.socket]:
    """Begin a connection from an address of a host.

    Args:
        host: the host.
        source: the address.
        target: the numeric address that is called.
        port: its port.
    """
    family = socket.AF_INET6 if ":" in target else socket.AF_INET
    with host.socket(family, socket.SOCK_STREAM) as sock:
        sock.bind((source, 0))
        sock.setblocking(False)
        sock.connect_ex((target, port))
        yield sock


def is_let_in(sock: socket.socket, seconds: float = 0.0) -> bool:
    """Tell whether a connection is made, and ring then.

    Args:
        sock: what `call` began.
        seconds: how long to wait for it.
    """
    _, done, _ = select.select([], [sock], [], seconds)
    if not done or sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
        return False
    sock.send(LINE)
    return True
