"""Which addresses may be rung: the blocks that are never called, `allow`, `deny`, and this host."""

import ipaddress

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mailbell.core.networks import Address, Family, Network
from mailbell.sender._address_rules import AddressRules, Refusal, unmapped


def rules(allow: str = "", deny: str = "", own: str = "") -> AddressRules:
    return AddressRules(*(map(Network.parse, text.split()) for text in (allow, deny, own)))


def address(text: str) -> Address:
    """Read any address, also an IPv4 address in IPv6 form."""
    parsed = ipaddress.ip_address(text)
    return Address(Family(parsed.version), int(parsed))


@pytest.mark.parametrize(
    ("text", "refusal"),
    [
        ("192.0.2.7", None),
        ("10.1.2.3", None),
        ("100.64.0.1", None),
        ("126.255.255.255", None),
        ("128.0.0.0", None),
        ("223.255.255.255", None),
        ("169.253.255.255", None),
        ("1.0.0.0", None),
        ("2001:db8::7", None),
        ("fd00::7", None),
        ("fe00::1", None),
        ("0.0.0.0", "unspecified"),
        ("0.255.255.255", "unspecified"),
        ("127.0.0.1", "loopback"),
        ("127.255.255.255", "loopback"),
        ("169.254.0.0", "link_local"),
        ("169.254.255.255", "link_local"),
        ("224.0.0.1", "multicast"),
        ("239.255.255.255", "multicast"),
        ("240.0.0.0", "broadcast"),
        ("255.255.255.255", "broadcast"),
        ("::", "unspecified"),
        ("::1", "loopback"),
        ("::2", "unspecified"),
        ("::127.0.0.1", "unspecified"),
        ("fe80::1", "link_local"),
        ("febf::1", "link_local"),
        ("fec0::1", "link_local"),
        ("ff02::1", "multicast"),
        ("::ffff:127.0.0.1", "loopback"),
        ("::ffff:0.0.0.0", "unspecified"),
        ("::ffff:224.0.0.1", "multicast"),
        ("::ffff:255.255.255.255", "broadcast"),
        ("::ffff:192.0.2.7", None),
    ],
)
def test_what_is_refused_unless_it_is_named(text: str, refusal: str | None) -> None:
    assert rules().refusal(address(text)) == refusal


@pytest.mark.parametrize(
    ("allow", "text", "refusal"),
    [
        ("127.0.0.0/8", "127.0.0.1", None),
        ("127.0.0.1", "127.0.0.1", None),
        ("127.0.0.1", "127.0.0.2", "not_allowed"),
        ("127.0.0.1", "::ffff:127.0.0.1", None),
        ("::1", "::1", None),
        ("ff02::/16", "ff02::1", None),
        ("fe80::/64", "fe80::1", None),
        ("255.255.255.255", "255.255.255.255", None),
        ("192.0.2.0/24", "192.0.2.7", None),
        ("192.0.2.0/24", "198.51.100.1", "not_allowed"),
        ("192.0.2.0/24", "2001:db8::7", "not_allowed"),
        # A network that merely contains the block does not name it.
        ("0.0.0.0/0", "192.0.2.7", None),
        ("0.0.0.0/0", "127.0.0.1", "loopback"),
        ("126.0.0.0/7", "127.0.0.1", "loopback"),
        ("0.0.0.0/0 127.0.0.0/8", "127.0.0.1", None),
        ("::/0", "::1", "loopback"),
        ("::/96", "::1", "loopback"),
        ("::/96", "::2", None),
        ("::/0", "ff02::1", "multicast"),
    ],
)
def test_allow_limits_and_names(allow: str, text: str, refusal: str | None) -> None:
    assert rules(allow).refusal(address(text)) == refusal


@pytest.mark.parametrize(
    ("allow", "text", "refusal"),
    [
        ("", "192.0.2.5", "own_address"),
        ("", "::ffff:192.0.2.5", "own_address"),
        ("", "192.0.2.255", "own_address"),
        ("", "2001:db8::5", "own_address"),
        ("", "192.0.2.6", None),
        ("", "10.9.1.2", "own_address"),  # a whole network that was made local
        ("192.0.2.0/24", "192.0.2.5", None),
        ("192.0.2.5", "192.0.2.5", None),
        ("0.0.0.0/0", "192.0.2.5", "own_address"),
        ("::/0", "2001:db8::5", "own_address"),
        ("2001:db8::/32", "2001:db8::5", None),
    ],
)
def test_an_address_of_this_host(allow: str, text: str, refusal: str | None) -> None:
    own = "192.0.2.5 192.0.2.255 2001:db8::5 10.9.0.0/16"
    assert rules(allow, own=own).refusal(address(text)) == refusal


def test_deny_is_asked_first() -> None:
    strict = rules("127.0.0.0/8 192.0.2.0/24", "192.0.2.7 127.0.0.1")
    assert strict.refusal(address("192.0.2.7")) is Refusal.DENIED
    assert strict.refusal(address("::ffff:192.0.2.7")) is Refusal.DENIED
    assert strict.refusal(address("127.0.0.1")) is Refusal.DENIED
    assert strict.refusal(address("192.0.2.8")) is None
    assert rules(deny="2001:db8::/32").refusal(address("2001:db8::1")) is Refusal.DENIED


# Addresses without a use, which the library calls global: RFC 4291, section 2.5.5.1; RFC 3879.
GIVEN_UP = [ipaddress.ip_network(block) for block in ("::/96", "fec0::/10")]


@given(st.ip_addresses())
@example(ipaddress.ip_address("::2"))
@example(ipaddress.ip_address("fec0::1"))
@example(ipaddress.ip_address("::ffff:10.0.0.1"))
@example(ipaddress.ip_address("::ffff:169.254.169.254"))
def test_what_the_library_calls_special_is_refused(
    parsed: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> None:
    """The blocks stand in the code as a table. `ipaddress` has tables of its own."""
    mapped = parsed.ipv4_mapped if isinstance(parsed, ipaddress.IPv6Address) else None
    plain = mapped or parsed
    refused = rules().refusal(Address(Family(parsed.version), int(parsed)))
    special = plain.is_loopback or plain.is_multicast or plain.is_link_local or plain.is_unspecified
    if special or any(plain in block for block in GIVEN_UP):
        assert refused is not None
    elif plain.is_global:
        assert refused is None


@given(st.ip_addresses())
def test_unmapping_is_done_once(
    parsed: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> None:
    once = unmapped(Address(Family(parsed.version), int(parsed)))
    assert unmapped(once) == once
    assert Address.parse(str(once)) == once  # which refuses the IPv6 form of an IPv4 address


@pytest.mark.parametrize(
    ("allow", "text", "permitted"),
    [
        ("", "192.0.2.5", False),
        ("192.0.2.0/24", "192.0.2.5", True),
        ("192.0.2.0/24", "::ffff:192.0.2.5", True),
        ("198.51.100.0/24", "192.0.2.5", False),
        ("0.0.0.0/0", "192.0.2.5", False),
    ],
)
def test_an_address_that_this_host_gets_later(allow: str, text: str, permitted: bool) -> None:
    assert rules(allow).permits_own(address(text)) is permitted


def test_an_own_address_that_came_later_is_rung_if_a_network_names_it() -> None:
    rules = AddressRules([Network.parse("192.0.2.0/24"), Network.parse("::/0")], [], [])
    assert rules.permits_own(Address.parse("192.0.2.7"))
    assert not rules.permits_own(Address.parse("198.51.100.7"))
    assert not rules.permits_own(Address.parse("2001:db8::7"))  # it names every address
    assert not AddressRules([], [], []).permits_own(Address.parse("192.0.2.7"))
