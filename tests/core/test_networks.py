"""Networks compared with `ipaddress`, and the map compared with a linear search."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailbell.core.networks import (
    Address,
    Family,
    Network,
    NetworkMap,
    format_address,
    parse_address,
    parse_peer_address,
)

families = st.sampled_from(Family)


@st.composite
def networks(draw: st.DrawFn, family: Family | None = None) -> Network:
    chosen = family or draw(families)
    # Few distinct bits, so that networks often contain one another.
    length = draw(st.sampled_from([0, 1, 2, 3, 8, 16, chosen.bits - 1, chosen.bits]))
    head = draw(st.integers(0, 15)) << (chosen.bits - 4)
    value = head | draw(st.integers(0, 3))
    shift = chosen.bits - length
    return Network(chosen, value >> shift << shift, length)


def addresses(family: Family) -> st.SearchStrategy[int]:
    near = st.builds(
        lambda head, tail: head << (family.bits - 4) | tail, st.integers(0, 15), st.integers(0, 3)
    )
    return near | st.integers(0, (1 << family.bits) - 1)


def model(network: Network) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    """The same network in the standard library."""
    if network.family is Family.IPV4:
        return ipaddress.IPv4Network((network.prefix, network.length))
    return ipaddress.IPv6Network((network.prefix, network.length))


@given(networks())
def test_a_network_is_read_back_from_what_it_is_written_as(network: Network) -> None:
    assert Network.parse(str(network)) == network


@given(networks())
def test_a_network_is_written_as_ipaddress_writes_it(network: Network) -> None:
    text = str(model(network))
    full = f"/{network.family.bits}"
    assert str(network) == text.removesuffix(full)
    assert Network.parse(text) == network


@given(st.data(), families)
def test_containment_is_that_of_ipaddress(data: st.DataObject, family: Family) -> None:
    outer, inner = data.draw(networks(family)), data.draw(networks(family))
    assert outer.contains(inner) == model(inner).subnet_of(model(outer))  # type: ignore[arg-type]


def test_no_network_contains_one_of_the_other_family() -> None:
    assert not Network(Family.IPV4, 0, 0).contains(Network(Family.IPV6, 0, 0))
    assert not Network(Family.IPV6, 0, 0).contains(Network(Family.IPV4, 0, 32))


@given(st.data(), st.lists(st.tuples(networks(), st.integers()), max_size=12), families)
def test_the_map_finds_what_a_linear_scan_finds(
    data: st.DataObject, entries: list[tuple[Network, int]], family: Family
) -> None:
    address = data.draw(addresses(family))
    best: tuple[int, int] | None = None
    for network, value in entries:
        same = network.family is family
        inside = same and ipaddress.ip_address(format_address(family, address)) in model(network)
        if inside and (best is None or network.length >= best[0]):
            best = (network.length, value)
    found = NetworkMap(entries).lookup(family, address)
    assert found == (None if best is None else best[1])


@given(st.data(), st.lists(st.tuples(networks(), st.integers()), max_size=12), families)
def test_the_map_says_how_long_the_network_is_too(
    data: st.DataObject, entries: list[tuple[Network, int]], family: Family
) -> None:
    address = data.draw(addresses(family))
    host = Network(family, address, family.bits)
    lengths = [network.length for network, _ in entries if network.contains(host)]
    found = NetworkMap(entries).find(family, address)
    assert (found and found[0]) == max(lengths, default=None)
    assert (found and found[1]) == NetworkMap(entries).lookup(family, address)


def test_the_map_finds_a_network_with_its_length() -> None:
    entries = NetworkMap([(Network.parse("10.0.0.0/8"), "a"), (Network.parse("10.1.0.0/16"), "b")])
    assert entries.find(Family.IPV4, 0x0A010203) == (16, "b")
    assert entries.find(Family.IPV4, 0x0A020304) == (8, "a")
    assert entries.find(Family.IPV4, 0x0B000000) is None
    assert entries.find(Family.IPV6, 0x0A010203) is None


@pytest.mark.parametrize("text", ["192.0.2.25", "2001:db8::25"])
def test_a_network_of_one_address_is_written_without_a_length(text: str) -> None:
    assert str(Network.parse(text)) == text
    assert str(Network.parse(text + ("/128" if ":" in text else "/32"))) == text


def test_the_map_tells_a_false_value_from_none() -> None:
    entries = [(Network.parse("10.0.0.0/8"), 1), (Network.parse("10.1.0.0/16"), 0)]
    assert NetworkMap(entries).lookup(Family.IPV4, 0x0A010000) == 0


def test_the_cost_of_a_lookup_is_the_number_of_lengths() -> None:
    entries = [(Network(Family.IPV4, host << 8, 24), host) for host in range(5000)]
    levels = NetworkMap(entries)._levels
    assert len(levels[Family.IPV4]) == 1
    assert levels[Family.IPV6] == ()


@given(st.data(), families)
def test_an_address_is_read_back_from_what_it_is_written_as(
    data: st.DataObject, family: Family
) -> None:
    value = data.draw(
        st.integers(0, (1 << family.bits) - 1).filter(
            lambda value: family is Family.IPV4 or value >> 32 != 0xFFFF
        )
    )
    text = format_address(family, value)
    assert parse_address(text) == (family, value)
    assert Address.parse(text) == (family, value)
    assert str(Address(family, value)) == text == str(ipaddress.ip_address(text))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "localhost",
        "192.0.2",
        "192.0.2.256",
        "192.0.2.025",
        "0x7f.1",
        " 192.0.2.25",
        "192.0.2.25\n",
        "192.0.2.25/32",
        "[2001:db8::1]",
        "2001:db8::1::2",
        "fe80::1%eth0",
        "\u0661.2.3.4",
        "1" * 100_000,
    ],
)
def test_what_is_no_address_is_refused_with_the_form(text: str) -> None:
    with pytest.raises(ValueError, match=r"write a numeric address such as 192\.0\.2\.25"):
        parse_address(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "/",
        "/8",
        "10.0.0.0/",
        "10.0.0.0/+8",
        "10.0.0.0/08",
        "10.0.0.0/ 8",
        "10.0.0.0/8/8",
        "10.0.0.0/1000",
        "10.0.0.0/255.0.0.0",
        "10.0.0.0/0.255.255.255",
        "10/8",
        "fe80::%1/64",
        "10.0.0.0/\u0668",
    ],
)
def test_what_is_no_network_is_refused_with_the_form(text: str) -> None:
    with pytest.raises(ValueError, match=r"write a numeric address or network such as"):
        Network.parse(text)


@pytest.mark.parametrize(
    ("text", "remedy"),
    [
        ("10.0.0.0/33", "at most 32"),
        ("2001:db8::/129", "at most 128"),
        ("10.0.0.1/8", "write 10.0.0.0/8 or 10.0.0.1"),
        ("2001:db8::1/64", "write 2001:db8::/64 or 2001:db8::1"),
        ("::ffff:192.0.2.25", "write it as IPv4: 192.0.2.25"),
        ("::ffff:c000:219/128", "write it as IPv4: 192.0.2.25"),
        ("::ffff:192.0.2.0/120", "write it as IPv4: 192.0.2.0/24"),
        ("::ffff:0:0/96", "write it as IPv4: 0.0.0.0/0"),
    ],
)
def test_a_near_miss_is_told_what_to_write(text: str, remedy: str) -> None:
    with pytest.raises(ValueError, match=remedy.replace(".", r"\.")):
        Network.parse(text)


def test_an_ipv4_address_in_ipv6_form_is_told_what_to_write() -> None:
    with pytest.raises(ValueError, match=r"write it as IPv4: 192\.0\.2\.25"):
        parse_address("::ffff:192.0.2.25")


def test_the_whole_internet_is_a_network() -> None:
    assert Network.parse("::/0") == Network(Family.IPV6, 0, 0)
    assert Network.parse("0.0.0.0/0") == Network(Family.IPV4, 0, 0)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("192.0.2.25", "192.0.2.25"),
        ("::ffff:192.0.2.25", "192.0.2.25"),
        ("0:0:0:0:0:FFFF:c000:0219", "192.0.2.25"),
        ("2001:DB8::25", "2001:db8::25"),
        ("::192.0.2.25", "::c000:219"),
        ("::1", "::1"),
        # No address is longer.
        ("2001:0db8:0000:0000:0000:0000:192.168.100.100", "2001:db8::c0a8:6464"),
    ],
)
def test_the_address_of_a_peer_is_never_ipv4_in_ipv6_form(text: str, address: str) -> None:
    found = parse_peer_address(text)
    assert found is not None
    assert str(found) == address
    assert parse_peer_address(str(found)) == found


@pytest.mark.parametrize(
    "text",
    ["", " 192.0.2.25", "192.0.2", "fe80::1%eth0", "[::1]", "mail", "1" * 60, "::ffff:1.2.3"],
)
def test_what_is_no_address_of_a_peer(text: str) -> None:
    assert parse_peer_address(text) is None
