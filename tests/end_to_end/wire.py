"""A wire: several hosts on one bridge, each a Debian that has booted, with IPv4 and IPv6.

A host is a `System` with a name and a network card. All of it ends with the block. Tests and
demonstrations speak to the hosts from `outside`, which is on the wire too and runs nothing.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from harness.netns import Namespace, lone_host
from packages.system import System, booted

__all__ = ["OUTSIDE", "Host", "Wire", "wire"]

OUTSIDE: Final = ("192.0.2.254/24", "2001:db8::fe/64")
"""The addresses of `Wire.outside`."""

_CARD: Final = "wire0"
_BRIDGE: Final = "bridge0"


@dataclass(frozen=True)
class Host(System):
    """A host that has booted.

    Attributes:
        name: of the host.
        namespace: its network.
        addresses: those of its card now, as ip-address(8) takes them: with prefix lengths, and
            with further words behind a space, such as "2001:db8::8/64 preferred_lft 0".
    """

    name: str
    namespace: Namespace
    addresses: list[str]

    def down(self) -> None:
        """Let it lose the network, as a laptop does whose lid is closed: its addresses go too."""
        self.namespace.run("ip", "link", "set", _CARD, "down")
        self.namespace.run("ip", "address", "flush", "dev", _CARD)

    def up(self) -> None:
        """Let it have the network again, with the addresses that it had."""
        self.namespace.run("ip", "link", "set", _CARD, "up")
        for each in self.addresses:
            _give(self.namespace, _CARD, each)

    def move(self, *addresses: str) -> None:
        """Change all its addresses, as in another network.

        Args:
            addresses: the new ones, as in `addresses`.
        """
        self.down()
        self.addresses[:] = addresses
        self.up()


class Wire:
    """The bridge, and what is on it.

    Args:
        stack: ends the hosts.
        outside: the namespace that has the bridge.
    """

    def __init__(self, stack: ExitStack, outside: Namespace) -> None:
        self._stack = stack
        self.outside = outside

    def namespace(self, *addresses: str) -> Namespace:
        """Put a host on the wire that runs nothing.

        Args:
            addresses: with prefix lengths.
        """
        added = self._stack.enter_context(lone_host(self.outside))
        port = f"port{added.pid}"
        self.outside.run(
            "ip", "link", "add", "name", port, "type", "veth",
            "peer", "name", _CARD, "netns", str(added.pid),
        )  # fmt: skip
        self.outside.run("ip", "link", "set", port, "master", _BRIDGE, "up")
        added.run("ip", "link", "set", "lo", "up")
        added.run("ip", "link", "set", _CARD, "up")
        for each in addresses:
            _give(added, _CARD, each)
        return added

    def host(self, name: str, root: Path, *addresses: str) -> Host:
        """Boot a system on the wire.

        Args:
            name: of the host.
            root: the root directory. What the host writes is not written there.
            addresses: as in `Host.addresses`.
        """
        namespace = self.namespace(*addresses)
        system = self._stack.enter_context(booted(root, namespace, name))
        return Host(system.pid, name, namespace, list(addresses))


@contextmanager
def wire(outside: Sequence[str] = OUTSIDE) -> Iterator[Wire]:
    """Make a wire; all that is on it ends with the block.

    Args:
        outside: the addresses of `Wire.outside`.

    Raises:
        OSError: this machine lets us make no namespace or no bridge.
    """
    with ExitStack() as stack:
        street = stack.enter_context(lone_host())
        # Without a querier, a bridge that snoops would lose IPv6's neighbour solicitations.
        street.run("ip", "link", "add", _BRIDGE, "type", "bridge", "mcast_snooping", "0")
        street.run("ip", "link", "set", "lo", "up")
        street.run("ip", "link", "set", _BRIDGE, "up")
        for each in outside:
            _give(street, _BRIDGE, each)
        yield Wire(stack, street)


def _give(namespace: Namespace, device: str, address: str) -> None:
    # nodad: without it an IPv6 address cannot be used for one second.
    options = ("nodad",) if ":" in address else ()
    namespace.run("ip", "address", "add", *address.split(), "dev", device, *options)
