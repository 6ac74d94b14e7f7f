"""Any text of resolv.conf gives one to three name servers; any /etc/hosts gives bounded names.

The first byte says which file the rest is. A second reader looks at each line in another way.
"""

import ipaddress

from mailbell.core.networks import Address
from mailbell.sender._names import ADDRESSES, is_name
from mailbell.sender._resolv_conf import parse_hosts, parse_name_servers


def check(data: bytes) -> None:
    """Raises AssertionError when an input breaks the invariant."""
    text = data[1:].decode("utf-8", "replace")  # as the resolver reads a file
    if data[:1] == b"h":
        check_hosts(text)
    else:
        check_servers(text)


def address_in(word: str) -> str:
    """Returns an address in the one form of `ipaddress`; empty: the word is none that is taken."""
    try:
        address = ipaddress.ip_address(word)
    except ValueError:
        return ""
    mapped = isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None
    return "" if mapped or "%" in word or len(word) > 45 else str(address)


def bare_lines(text: str) -> list[list[str]]:
    """Returns the words of each line before its comment."""
    cut = [line.split("#")[0].split(";")[0].split() for line in text.splitlines()]
    return [words for words in cut if words]


def check_servers(text: str) -> None:
    """Checks the name servers."""
    found = parse_name_servers(text)
    expected = [
        address_in(words[1].split("%")[0])
        for words in bare_lines(text)
        if words[0] == "nameserver" and len(words) > 1
    ]
    usable = [address for address in expected if address][:3]
    assert [str(server.address) for server in found] == (usable or ["127.0.0.1"])


def check_hosts(text: str) -> None:
    """Checks the names of this machine."""
    found = parse_hosts(text)
    listed = {
        (name.lower(), address_in(words[0])) for words in bare_lines(text) for name in words[1:]
    }
    for name, addresses in found.items():
        assert is_name(name)
        assert 1 <= len(addresses) <= ADDRESSES
        assert all(isinstance(each, Address) for each in addresses)
        assert {(name, str(each)) for each in addresses} <= listed
