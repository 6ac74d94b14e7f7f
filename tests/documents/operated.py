"""A machine with both halves of mailbell, where the tests of docs/operating.md type."""

import socket
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Final

import pytest
from documents.blocks import ROOT, Step
from documents.networked import call, is_let_in, root
from documents.typed import typed
from harness.daemon import PATIENCE
from harness.netns import Pair, namespaces
from packages.environments import put_environment
from packages.roots import require_roots
from packages.system import Ran, System, booted

__all__ = [
    "ANNA", "LISTENER_UNITS", "METRICS", "PAGE", "SENDER_UNITS", "Place", "answering", "clean",
    "place",
]  # fmt: skip

PAGE: Final = "docs/operating.md"
METRICS: Final = "/var/lib/prometheus/node-exporter"
"""Where node_exporter looks for metrics."""

SENDER_UNITS: Final = (
    "mailbell-sender.service mailbell-sender-hook.socket mailbell-sender-control.socket"
)
LISTENER_UNITS: Final = "mailbelld.service mailbelld.socket mailbelld-local.socket"
ANNA: Final = '[[account]]\nname = "anna"\ntargets = {targets}\n'
"""The sender's configuration."""

_SOURCE: Final = "/srv/mailbell"


@dataclass(frozen=True)
class Place:
    """A machine with both halves of mailbell, and a mail server on the same wire."""

    system: System
    hosts: Pair

    def root(self, step: Step) -> Ran:
        """Type a command as the page says: as root, or as anna; in the folder of the source."""
        user = "root" if step.root else "anna"
        return self.system.ran(f"cd {_SOURCE}; {step.command}", user=user)

    def follow(self, heading: str, ordinal: int = 0, *, codes: Sequence[int] = ()) -> None:
        """Type a block of the page; `codes`: with which its commands end, if not with 0."""
        typed(PAGE, heading, ordinal, self.root, codes=codes)

    def sender(self, text: str) -> None:
        """Give the sender a configuration."""
        self.system.write("/etc/mailbell/sender.toml", text)
        self.system.run("systemctl restart mailbell-sender")

    def listener(self, text: str) -> None:
        """Give the listener a configuration."""
        self.system.write("/etc/mailbell/mailbelld.toml", text)
        self.system.run("systemctl restart mailbelld")

    def ring(self, source: str = "192.0.2.1") -> None:
        """Ring the machine, as the mail server does."""
        with call(self.hosts.client, source, "192.0.2.7") as connection:
            assert is_let_in(connection, PATIENCE)

    def until_logged(self, unit: str, words: str) -> None:
        """Wait for a line of the log."""
        self.system.until(f"journalctl --sync; journalctl -u {unit} -o cat -n 5 -g '{words}'")


@pytest.fixture(scope="module")
def place() -> Iterator[Place]:
    """The machine. It has no configuration; each test writes its own."""
    require_roots(stages="`documents`")
    with ExitStack() as stack:
        hosts = stack.enter_context(namespaces(["192.0.2.7/24"], ["192.0.2.1/24", "192.0.2.66/24"]))
        system = stack.enter_context(booted(root(), hosts.server))
        system.run("systemctl stop firewalld ufw prometheus")
        put_environment(system)
        system.person("anna")
        system.run("/opt/mailbell/bin/mailbell install --user anna")
        system.run("/opt/mailbell/bin/mailbell install --sender")
        system.put(ROOT / "examples", _SOURCE)
        system.run("mkdir -p /etc/mailbell")
        yield Place(system, hosts)


@pytest.fixture
def clean(place: Place) -> Place:
    """The machine with an empty log and both services anew, without a configuration."""
    place.system.run(
        "rm -f /etc/mailbell/*.toml; journalctl --rotate --vacuum-time=1us --quiet;"
        "systemctl reset-failed; systemctl stop mailbell-sender.service 2>&1;"
        "rm -f /var/lib/mailbell-sender/*;"
        "systemctl restart mailbelld.service mailbell-sender.service"
    )
    return place


@contextmanager
def answering(hosts: Pair) -> Iterator[None]:
    """Have something listen at 192.0.2.1, which is a target then."""
    with hosts.client.socket(socket.AF_INET, socket.SOCK_STREAM) as sock:
        sock.bind(("192.0.2.1", 79))
        sock.listen()
        yield
