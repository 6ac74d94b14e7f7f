"""Reads which name servers a machine has, and the names that it knows by itself.

Source: resolv.conf(5), hosts(5).
"""

from collections.abc import Iterator
from typing import Final, NamedTuple

from mailbell.core.networks import Address, Family
from mailbell.sender._names import ADDRESSES, MAX_NAMES, is_name

__all__ = ["MAX_BYTES", "NameServer", "parse_hosts", "parse_name_servers"]

MAX_BYTES: Final = 1 << 20
"""Bytes that are read of each file."""
_MOST_SERVERS: Final = 3  # MAXNS of the C library
_LOOPBACK: Final = Address(Family.IPV4, 0x7F00_0001)


class NameServer(NamedTuple):
    """A name server.

    Attributes:
        address: its address.
        zone: the network interface of a link-local address; empty: none.
    """

    address: Address
    zone: str = ""


def parse_name_servers(text: str) -> tuple[NameServer, ...]:
    """Read resolv.conf. Everything but `nameserver` is ignored: names are never completed.

    Args:
        text: the text of the file; empty if there is none.

    Returns:
        Three at most, as in the C library. Where the file names none, this machine is one.
    """
    found: list[NameServer] = []
    for words in _lines(text):
        if words[0] == "nameserver" and len(words) > 1:
            host, _, zone = words[1].partition("%")
            address = _address(host)
            if address is not None:
                found.append(NameServer(address, zone))
    return tuple(found[:_MOST_SERVERS]) or (NameServer(_LOOPBACK),)


def parse_hosts(text: str) -> dict[str, tuple[Address, ...]]:
    """Read /etc/hosts.

    Args:
        text: the text of the file; empty if there is none.

    Returns:
        The addresses of each name in lower case, in the order of the file.
    """
    found: dict[str, tuple[Address, ...]] = {}
    for host, *names in _lines(text):
        address = _address(host)
        if address is None:
            continue
        for name in map(str.lower, names):
            known = found.get(name, ())
            if is_name(name) and len(known) < ADDRESSES and len(found) < MAX_NAMES:
                found[name] = (*known, address)
    return found


def _lines(text: str) -> Iterator[list[str]]:
    """Yield the words of each line that has any, without comments."""
    for line in text.splitlines():
        words = line.partition("#")[0].partition(";")[0].split()
        if words:
            yield words


def _address(text: str) -> Address | None:
    try:
        return Address.parse(text)
    except ValueError:
        return None
