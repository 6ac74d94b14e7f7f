import ipaddress

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mailbell.core.networks import Family, Network, NetworkMap
from mailbell.core.translation import Translation, TranslatorPrefix

OWN = TranslatorPrefix.parse("2001:db8:64::/96")
BOTH = Translation([OWN])


def number(text: str) -> int:
    return int(ipaddress.ip_address(text))


def may_stand_for(address: int, *, well_known: bool) -> bool:
    """Return what the standard library says: the naive model."""
    ipv4 = ipaddress.IPv4Address(address)
    if ipv4.is_loopback or ipv4.is_link_local or address >> 24 == 0 or address >> 29 == 7:
        return False
    shared = ipaddress.ip_network("100.64.0.0/10")
    private = ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16")
    return not well_known or not (
        ipv4 in shared or any(ipv4 in ipaddress.ip_network(each) for each in private)
    )


addresses = st.integers(0, (1 << 32) - 1) | st.sampled_from(
    [
        int(ipaddress.IPv4Address(text))
        for text in (
            *("127.0.0.1", "127.255.255.255", "128.0.0.0", "126.255.255.255", "0.0.0.0"),
            *("10.0.0.1", "9.255.255.255", "11.0.0.0", "172.16.0.1", "172.32.0.0"),
            *("192.168.1.1", "192.167.255.255", "100.64.0.1", "100.128.0.0", "169.254.1.1"),
            *("224.0.0.1", "223.255.255.255", "255.255.255.255"),
        )
    ]
)


@given(addresses)
def test_the_last_32_bits_are_the_ipv4_address(address: int) -> None:
    text = str(ipaddress.IPv4Address(address))
    found = BOTH.find_ipv4(number(f"64:ff9b::{text}"))
    assert found == (address if may_stand_for(address, well_known=True) else None)
    found = BOTH.find_ipv4(number(f"2001:db8:64::{text}"))
    assert found == (address if may_stand_for(address, well_known=False) else None)
    assert Translation().find_ipv4(number(f"2001:db8:64::{text}")) is None


@pytest.mark.parametrize("other", ["64:ff9b:1::1", "64:ff9b::1:0:0", "::1", "2001:db8::1"])
def test_no_other_address_is_translated(other: str) -> None:
    assert BOTH.find_ipv4(number(other)) is None


@given(
    st.lists(st.tuples(addresses, st.integers(0, 32)), max_size=4),
    st.lists(
        st.sampled_from(["::/0", "64:ff9b::/96", "64:ff9b::/32", "2001:db8::/32"]), max_size=3
    ),
    addresses,
    st.sampled_from(["64:ff9b::", "2001:db8:64::", "2001:db8:65::"]),
)
@example([(0, 1)], ["64:ff9b::/96"], 0x0100_0000, "64:ff9b::")
def test_the_longest_network_in_either_form_is_found(
    ipv4: list[tuple[int, int]], ipv6: list[str], source: int, prefix: str
) -> None:
    written = [str(ipaddress.ip_network(each, strict=False)) for each in ipv4] + ipv6
    networks = NetworkMap((Network.parse(text), text) for text in written)
    address = ipaddress.IPv6Address(f"{prefix}{ipaddress.IPv4Address(source)}")
    stands = prefix != "2001:db8:65::" and may_stand_for(source, well_known=prefix[0] == "6")
    matching: list[tuple[int, bool, str]] = []  # of two of one length that of IPv6 wins
    for text in written:
        network = ipaddress.ip_network(text)
        if isinstance(network, ipaddress.IPv4Network):
            if stands and ipaddress.IPv4Address(source) in network:
                matching.append((96 + network.prefixlen, False, text))
        elif address in network:
            matching.append((network.prefixlen, True, text))
    found = BOTH.lookup(networks, Family.IPV6, int(address))
    assert found == (max(matching)[-1] if matching else None)


@given(addresses)
def test_an_ipv4_source_is_found_among_its_own(source: int) -> None:
    networks = NetworkMap([(Network.parse("0.0.0.0/1"), 1), (Network.parse("::/0"), 2)])
    assert BOTH.lookup(networks, Family.IPV4, source) == (1 if source >> 31 == 0 else None)


@given(addresses, st.integers(0, 32))
def test_a_network_under_a_prefix_stands_for_one_of_ipv4(address: int, length: int) -> None:
    network = Network.parse(str(ipaddress.ip_network((address, length), strict=False)))
    for prefix in BOTH.prefixes:
        form = Network(Family.IPV6, prefix.prefix | network.prefix, 96 + length)
        assert BOTH.original(form) == network


@pytest.mark.parametrize("text", ["2001:db8::/32", "::/0", "64:ff9b::/64", "192.0.2.0/24"])
def test_other_networks_stand_for_themselves(text: str) -> None:
    network = Network.parse(text)
    assert BOTH.original(network) is network


def test_the_well_known_prefix_is_always_there_and_once() -> None:
    twice = Translation([TranslatorPrefix.parse("64:ff9b::/96")])
    assert list(map(str, twice.prefixes)) == ["64:ff9b::/96"]
    assert list(map(str, BOTH.prefixes)) == ["64:ff9b::/96", "2001:db8:64::/96"]


@pytest.mark.parametrize(
    "text", ["2001:db8::/64", "192.0.2.0/24", "2001:db8::", "2001:db8::1/96", "x", ""]
)
def test_what_is_no_prefix_of_a_translator(text: str) -> None:
    with pytest.raises(ValueError, match="write ") as refused:
        TranslatorPrefix.parse(text)
    if text in {"2001:db8::/64", "192.0.2.0/24", "x"}:
        form = 'an IPv6 prefix of 96 bits, such as "2001:db8:64::/96"'
        assert str(refused.value) == f"write {form}"


def test_of_two_networks_of_one_length_that_of_ipv6_is_found() -> None:
    pairs = [("64:ff9b::102:0/112", "own"), ("1.2.0.0/16", "meant")]
    networks = NetworkMap((Network.parse(text), name) for text, name in pairs)
    source = number("64:ff9b::102:304")
    assert Translation().lookup(networks, Family.IPV6, source) == "own"
