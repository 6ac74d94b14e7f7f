import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailbell.core.networks import Family, Network
from mailbell.core.translation import Translation, TranslatorPrefix

OWN = TranslatorPrefix.parse("2001:db8:64::/96")
BOTH = Translation([OWN])


def number(text: str) -> int:
    return int(ipaddress.ip_address(text))


@given(st.integers(0, (1 << 32) - 1))
def test_the_last_32_bits_are_the_ipv4_address(address: int) -> None:
    text = str(ipaddress.IPv4Address(address))
    assert BOTH.find_ipv4(number(f"64:ff9b::{text}")) == address
    assert BOTH.find_ipv4(number(f"2001:db8:64::{text}")) == address
    assert Translation().find_ipv4(number(f"2001:db8:64::{text}")) is None


@pytest.mark.parametrize("other", ["64:ff9b:1::1", "64:ff9b::1:0:0", "::1", "2001:db8::1"])
def test_no_other_address_is_translated(other: str) -> None:
    assert BOTH.find_ipv4(number(other)) is None


@given(st.integers(0, (1 << 32) - 1), st.integers(0, 32))
def test_a_network_contains_the_same_senders_in_each_form(address: int, length: int) -> None:
    network = Network.parse(str(ipaddress.ip_network((address, length), strict=False)))
    same, *translated = BOTH.both_forms(network)
    assert same is network
    assert [form.family for form in translated] == [Family.IPV6] * 2
    for form in translated:
        assert BOTH.find_ipv4(form.prefix) == network.prefix
        assert form.length == 96 + length
        assert BOTH.original(form) == network


@pytest.mark.parametrize("text", ["2001:db8::/32", "::/0", "64:ff9b::/64", "192.0.2.0/24"])
def test_other_networks_have_one_form(text: str) -> None:
    network = Network.parse(text)
    assert BOTH.original(network) is network
    assert len(BOTH.both_forms(network)) == (3 if network.family is Family.IPV4 else 1)


def test_the_well_known_prefix_is_always_there_and_once() -> None:
    twice = Translation([TranslatorPrefix.parse("64:ff9b::/96")])
    assert list(map(str, twice.prefixes)) == ["64:ff9b::/96"]
    assert list(map(str, BOTH.prefixes)) == ["64:ff9b::/96", "2001:db8:64::/96"]


@pytest.mark.parametrize(
    "text", ["2001:db8::/64", "192.0.2.0/24", "2001:db8::", "2001:db8::1/96", "x", ""]
)
def test_what_is_no_prefix_of_a_translator(text: str) -> None:
    with pytest.raises(ValueError, match="write "):
        TranslatorPrefix.parse(text)
