"""Any bytes of the kernel about addresses give networks in their family, or an OSError.

Two readers get the same datagram: that of the sender, which asks for this host's addresses, and
that of the agent, which waits for new ones. The agent never tells of an address twice.
"""

import struct

from mailbell._sys.own_addresses import _ListChangedError, parse_replies
from mailbell.agent._rtnetlink import Addresses

_HEADER = struct.Struct("=IHHII")


def check(data: bytes) -> None:
    """Raises AssertionError when an input breaks the invariant."""
    check_networks(data)
    check_agent(data)


def check_networks(data: bytes) -> None:
    """Reads the datagram as the sender does."""
    try:
        networks, _ = parse_replies(data)
    except OSError:
        return
    except _ListChangedError:  # the kernel is asked again
        return
    for network in networks:
        bits = network.family.bits
        assert 0 <= network.length <= bits
        assert network.prefix >> bits == 0
        assert str(network)
        # An address that was told stands in the datagram.
        assert network.prefix.to_bytes(bits // 8, "big").rstrip(b"\0") in data


def check_agent(data: bytes) -> None:
    """Reads the datagram as the agent does."""
    addresses = Addresses()
    announced = addresses.receive(data)
    assert isinstance(announced, bool)
    known = set(addresses._known)  # noqa: SLF001  what it remembers cannot be seen from outside
    assert len(known) <= len(data) // _HEADER.size
    addresses.receive(data)
    assert addresses._known == known  # noqa: SLF001  as above
    addresses.forget()
    assert not addresses._known  # noqa: SLF001  as above
