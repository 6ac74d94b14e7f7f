"""Three hosts: the daemon's, one with all attackers, and one with the good senders.

Each of the other two has a cable of its own to the daemon's host, so no attacker shares one with
a good sender. The host of the attackers has all of 10.0.0.0/8 and 2001:db8::/32. 172.16.0.0/12 is
behind it too, but no host answers there: connections from there stay half open.
"""

import socket
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from harness.netns import Namespace, another_host, namespaces

from torture.floods.sources import ATTACKED

__all__ = ["RUNG", "SENDERS", "Hosts", "Sender", "hosts"]

RUNG: Final = {4: "198.51.100.1", 6: "fd79:2::1"}
"""The addresses of the daemon's host at the cable of the good senders, by family."""

_ATTACKERS: Final = ("192.0.2.2/24", "fd79:1::2/64")
_GOOD: Final = "198.51.100.25"


@dataclass(frozen=True, slots=True)
class Sender:
    """A good sender, and what the configuration says of it.

    Attributes:
        account: the account that it rings; no other sender rings it.
        source: its address.
        network: what the account lists: this address, or a network around it.
    """

    account: str
    source: str
    network: str

    @property
    def family(self) -> int:
        """4 or 6."""
        return 6 if ":" in self.source else 4


SENDERS: Final = (
    Sender("address-ipv4", _GOOD, _GOOD),
    Sender("address-ipv6", "fd79:2::25", "fd79:2::25"),
    Sender("network", "198.51.100.130", "198.51.100.128/25"),
    # So large a network names nobody (docs/configuration.md): the sender is an ordinary one, who is
    # promised a part of the total that strangers do not have.
    Sender("ordinary", "198.18.0.7", "198.18.0.0/15"),
)
"""The good senders: three that are named in each possible way, and one that is not."""


@dataclass(frozen=True, slots=True)
class Hosts:
    """The three hosts."""

    server: Namespace
    attackers: Namespace
    good: Namespace

    def connection(self, sender: Sender, patience: float) -> socket.socket:
        """Make a socket of a good sender, not connected yet.

        Args:
            sender: its address is the socket's.
            patience: seconds that each of its calls may take.
        """
        family = socket.AF_INET6 if sender.family == 6 else socket.AF_INET
        sock = self.good.socket(family, socket.SOCK_STREAM)
        sock.settimeout(patience)
        sock.bind((sender.source, 0))
        return sock

    def counted(self) -> Counter[str]:
        """Return what the kernel of the daemon's host has counted of its TCP connections.

        Source: proc(5), /proc/net/netstat: a line of names and a line of numbers.
        """
        text = self.server.run("cat", "/proc/net/netstat")
        names, numbers = (line.split()[1:] for line in text.splitlines()[:2])
        return Counter(dict(zip(names, map(int, numbers), strict=True)))


@contextmanager
def hosts() -> Iterator[Hosts]:
    """Make the hosts until the end of the block. What cannot be made is a skipped test."""
    with namespaces((f"{ATTACKED[4]}/24", f"{ATTACKED[6]}/64"), _ATTACKERS) as pair:
        server, attackers = pair.server, pair.client
        attackers.run("ip", "route", "add", "local", "10.0.0.0/8", "dev", "lo")
        attackers.run("ip", "-6", "route", "add", "local", "2001:db8::/32", "dev", "lo")
        for network in ("10.0.0.0/8", "172.16.0.0/12"):
            server.run("ip", "route", "add", network, "via", "192.0.2.2")
        server.run("ip", "-6", "route", "add", "2001:db8::/32", "via", "fd79:1::2")
        # A queue that half-open connections have filled refuses no SYN then (tcp(7)).
        server.run("sh", "-c", "echo 1 >/proc/sys/net/ipv4/tcp_syncookies")
        near = (f"{RUNG[4]}/24", f"{RUNG[6]}/64")
        far = [f"{_GOOD}/24", "fd79:2::25/64", "198.51.100.130/24", "198.18.0.7/32"]
        with another_host(server, near, far) as good:
            server.run("ip", "route", "add", "198.18.0.0/15", "via", _GOOD)
            yield Hosts(server, attackers, good)
