"""A value of a configuration is what it is after it is written and read again, or a ValueError.

The first byte chooses the type, the rest is the text. The message of the error is printable, and
addresses and networks are also read by `ipaddress`.
"""

import ipaddress
from typing import Any

from mailbell.agent import configuration as agent
from mailbell.configuration.values import Duration, Endpoint, Mode, Rate, SocketPath
from mailbell.core.account_name import is_account_name
from mailbell.core.escape import printable
from mailbell.core.mailbox import normalize_mailbox
from mailbell.core.networks import Address, Network, parse_peer_address
from mailbell.core.translation import TranslatorPrefix
from mailbell.sender._names import is_name
from mailbell.sender._store_url import FileUrl, StoreUrl
from mailbell.sender._values import Backoff, Mailbox, OptionalFile, OptionalPath, TargetSetting

KINDS: tuple[Any, ...] = (
    Address, Network, TranslatorPrefix, Endpoint, Duration, Rate, Mode, SocketPath, Mailbox,
    OptionalPath, OptionalFile, Backoff, TargetSetting, FileUrl, StoreUrl, agent.Backoff,
    agent.Poll,
)  # fmt: skip
"""What the first byte chooses, in this order."""

_LONGEST = 400  # characters of a message
# Seconds. A number has nine digits at most, and no bound of a configuration is as long.
_LONGEST_DURATION = 999_999_999 * 3600


def check(data: bytes) -> None:
    """Raises AssertionError when an input breaks the invariant."""
    text = data[1:].decode("utf-8", "replace")
    kind: Any = KINDS[data[0] % len(KINDS)] if data else Address
    check_texts(text)
    try:
        value = kind.parse(text)
    except ValueError as error:
        message = str(error)
        assert message.isprintable(), repr(message)
        assert len(message) <= _LONGEST
        assert kind is not Address or not reads_address(text)
        return
    if not isinstance(value, Duration) or value <= _LONGEST_DURATION:
        assert kind.parse(str(value)) == value
    check_value(text, value)


def reads_address(text: str) -> bool:
    """Tells whether `ipaddress` reads an address of the forms that are accepted."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return False
    mapped = isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None
    return "%" not in text and not mapped


def check_value(text: str, value: object) -> None:
    """Compares a value with what the standard library reads, and uses it."""
    if isinstance(value, StoreUrl):
        engine = value.engine
        assert engine is None or len(engine.hosts) <= 16
    elif isinstance(value, Network):
        network = ipaddress.ip_network(text)
        assert int(network.network_address) == value.prefix
        assert network.prefixlen == value.length
    elif isinstance(value, Address):
        assert int(ipaddress.ip_address(text)) == value.value


def check_texts(text: str) -> None:
    """Reads the text in the ways that need no type."""
    shown = printable(text)
    assert shown.isascii()
    assert shown.isprintable() or not shown
    mailbox = normalize_mailbox(text)
    assert mailbox is None or normalize_mailbox(mailbox) == mailbox
    peer = parse_peer_address(text)
    assert peer is None or parse_peer_address(str(peer)) == peer
    assert not is_name(text) or text == text.lower()
    assert not is_account_name(text) or text.isascii()
