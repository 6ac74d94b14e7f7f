"""The programs, run by an evaluator that does not know how they are built."""

import ipaddress
import itertools
import struct
from collections.abc import Sequence
from typing import Any

import pytest
from harness.bpf import evaluate
from hypothesis import given
from hypothesis import strategies as st

from mailbell._sys.bpf_program import MAX_INSTRUCTIONS, Program
from mailbell.core.networks import Family, Network
from mailbell.core.outcome import Outcome
from mailbell.core.rfc4146 import LINE, STRICT, Terminator, parse_datagram
from mailbell.core.translation import Translation
from mailbell.listener._packet_filter import line_filter, merge, source_filter

TOKEN = b"nm_notifyuser"
EVERYTHING = 0xFFFFFFFF


def network(text: str) -> Network:
    parsed = ipaddress.ip_network(text)
    return Network(Family(parsed.version), int(parsed.network_address), parsed.prefixlen)


def addresses_of(net: Network) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    """Return the network as the standard library has it: the naive model."""
    kind = ipaddress.IPv4Network if net.family is Family.IPV4 else ipaddress.IPv6Network
    return kind((net.prefix, net.length))


def listed(
    family: Family,
    source: int,
    allow: Sequence[Network],
    translators: Sequence[str] = ("64:ff9b::/96",),
) -> bool:
    if family is Family.IPV6:
        for prefix in translators:
            if ipaddress.IPv6Address(source) in ipaddress.IPv6Network(prefix):
                ipv4 = source & 0xFFFFFFFF
                if stands(prefix, ipv4) and listed_itself(Family.IPV4, ipv4, allow):
                    return True
    return listed_itself(family, source, allow)


def stands(prefix: str, address: int) -> bool:
    """Return whether a translated address may stand for this one: a naive reading."""
    never = ["0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/3"]
    private = ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10"]
    excluded = never + (private if prefix == "64:ff9b::/96" else [])
    return not any(ipaddress.IPv4Address(address) in ipaddress.ip_network(n) for n in excluded)


def listed_itself(family: Family, source: int, allow: Sequence[Network]) -> bool:
    kind = ipaddress.IPv4Address if family is Family.IPV4 else ipaddress.IPv6Address
    return not allow or any(kind(source) in addresses_of(n) for n in allow if n.family is family)


def ip_header(family: Family, source: int) -> bytes:
    """Return a header with only the version and the source; all other bits are ones."""
    if family is Family.IPV4:
        return b"\x45" + b"\xff" * 11 + source.to_bytes(4) + b"\xff" * 4
    return b"\x60" + b"\xff" * 7 + source.to_bytes(16) + b"\xff" * 16


def run(program: Program, family: Family, source: int, payload: bytes) -> int:
    header = struct.pack("!HHHH", 40000, 79, 8 + len(payload), 0)
    return evaluate(program, header + payload, network=ip_header(family, source))


families = st.sampled_from(Family)


@st.composite
def networks(draw: st.DrawFn, among: st.SearchStrategy[Family] = families) -> Network:
    family = draw(among)
    length = draw(st.integers(0, family.bits))
    # Few distinct leading and trailing bits, so that networks touch and contain each other.
    value = draw(st.integers(0, 3)) << (family.bits - 2) | draw(st.integers(0, 7))
    value = draw(st.sampled_from([value, draw(st.integers(0, (1 << family.bits) - 1))]))
    host = family.bits - length
    return Network(family, value >> host << host, length)


@st.composite
def allow_and_source(draw: st.DrawFn) -> tuple[list[Network], Family, int]:
    allow = draw(st.lists(networks(), max_size=12))
    family = draw(families)
    top = (1 << family.bits) - 1
    edges = [0, top]
    for n in allow:
        last = n.prefix + (1 << (n.family.bits - n.length)) - 1
        edges += [n.prefix - 1, n.prefix, last, last + 1]
    source = draw(st.sampled_from(edges) | st.integers(0, top))
    flip = draw(st.just(0) | st.integers(0, family.bits - 1).map(lambda bit: 1 << bit))
    return allow, family, (source ^ flip) & top


@given(allow_and_source())
def test_exactly_the_listed_sources_pass(case: tuple[list[Network], Family, int]) -> None:
    allow, family, source = case
    verdict = run(source_filter(family, allow), family, source, b"")
    assert verdict == (EVERYTHING if listed(family, source, allow) else 0)


@given(
    allow_and_source(),
    st.integers(0, 3),
    st.sampled_from([None, "127.0.0.1", "10.1.2.3", "192.168.1.1", "169.254.1.1", "100.64.0.1"]),
)
def test_behind_a_translator_exactly_the_listed_ipv4_sources_pass(
    case: tuple[list[Network], Family, int], which: int, private: str | None
) -> None:
    allow, _, source = case
    own = ["2001:db8:64::/96", "::/96"]
    prefix = ["64:ff9b::", *(text.removesuffix("/96") for text in own), "2001:db8:65::"][which]
    source &= 0xFFFFFFFF
    if private is not None:
        source = int(ipaddress.IPv4Address(private))
        allow = [*allow, network(f"{private}/32"), network("0.0.0.0/0")][-1 - which % 2 :]
    source |= int(ipaddress.IPv6Address(prefix))
    translation = Translation(map(network, own))
    verdict = run(source_filter(Family.IPV6, allow, translation), Family.IPV6, source, b"")
    expected = listed(Family.IPV6, source, allow, ["64:ff9b::/96", *own])
    assert verdict == (EVERYTHING if expected else 0)


@given(st.lists(networks(), max_size=12))
def test_merging_changes_the_number_and_not_the_meaning(allow: list[Network]) -> None:
    merged = merge(allow)
    for family in Family:
        mine: Any = [addresses_of(n) for n in allow if n.family is family]
        expected = list(ipaddress.collapse_addresses(mine))
        assert [addresses_of(n) for n in merged if n.family is family] == expected


def test_merging_cascades_and_keeps_families_apart() -> None:
    texts = ["10.0.0.0/25", "10.0.0.128/26", "10.0.0.192/26", "10.0.1.0/24", "::/0", "10.0.0.7"]
    assert merge(map(network, texts)) == (network("10.0.0.0/23"), network("::/0"))
    # Halves of different parents stay two networks.
    assert len(merge(map(network, ["10.0.1.0/24", "10.0.2.0/24"]))) == 2


@pytest.mark.parametrize("family", Family)
def test_a_family_without_a_network_is_shut(family: Family) -> None:
    other = network("::/0" if family is Family.IPV4 else "0.0.0.0/0")
    assert run(source_filter(family, [other]), family, 1, b"") == 0
    assert run(line_filter(family, [other], STRICT), family, 1, LINE) == 0


@pytest.mark.parametrize("family", Family)
def test_the_widest_network_and_the_empty_list_let_everyone_in(family: Family) -> None:
    everyone = [Network(family, 0, 0)]
    for source in (0, (1 << family.bits) - 1):
        assert run(source_filter(family, everyone), family, source, b"") == EVERYTHING
        assert run(source_filter(family, []), family, source, b"") == EVERYTHING


def test_the_length_never_matters_on_a_stream() -> None:
    program = source_filter(Family.IPV4, [network("192.0.2.25/32")])
    source = int(ipaddress.IPv4Address("192.0.2.25"))
    for length in (0, 1, 14, 15, 16, 1460, 65000):
        assert run(program, Family.IPV4, source, bytes(length)) == EVERYTHING


def worst_case(family: Family) -> list[Network]:
    """Return 256 networks without a common prefix, which end inside a word."""
    step = 0x9E3779B97F4A7C15F39CC0605CEDC835  # odd, so that multiples spread over all bits
    length = family.bits - 1
    return [
        Network(family, (step * n >> (128 - family.bits)) % (1 << family.bits) & ~1, length)
        for n in range(1, 257)
    ]


@pytest.mark.parametrize(("family", "limit"), [(Family.IPV4, 1100), (Family.IPV6, 2700)])
def test_256_networks_fit(family: Family, limit: int) -> None:
    allow = worst_case(family)
    assert len(merge(allow)) == 256
    program = line_filter(family, allow, Terminator)
    assert len(program) <= limit < MAX_INSTRUCTIONS
    mixed = [*allow[:128], *worst_case(Family.IPV4)[:128]]
    prefixes = [Network(Family.IPV6, n << 100, 96) for n in range(1, 9)]
    assert len(line_filter(family, mixed, Terminator, Translation(prefixes))) <= limit
    for chosen in allow:
        assert run(program, family, chosen.prefix | 1, LINE) == EVERYTHING
    assert run(program, family, 1, LINE) == 0


ALPHABET = [b"nm_n", b"otif", b"yuse", b"r", TOKEN, b"\r", b"\n", b"\r\n", b"\0", b" ", b"N", b"nm"]
payloads = st.one_of(
    st.sampled_from([TOKEN, TOKEN + b"\n", LINE]),
    st.lists(st.sampled_from(ALPHABET), max_size=8).map(b"".join),
    st.tuples(
        st.sampled_from([TOKEN, TOKEN + b"\n", LINE]), st.integers(0, 14), st.integers(1, 255)
    ).map(lambda case: with_a_byte_changed(*case)),
    st.binary(max_size=20),
)


def with_a_byte_changed(line: bytes, at: int, by: int) -> bytes:
    at %= len(line)
    return line[:at] + bytes([line[at] ^ by]) + line[at + 1 :]


@given(families, payloads, st.frozensets(st.sampled_from(Terminator)))
def test_on_udp_exactly_what_the_parser_accepts_passes(
    family: Family, payload: bytes, terminators: frozenset[Terminator]
) -> None:
    verdict = run(line_filter(family, [], terminators), family, 1, payload)
    accepted = parse_datagram(payload, terminators) is Outcome.ACCEPTED
    assert verdict == (EVERYTHING if accepted else 0)


SETS_OF_TERMINATORS = [
    frozenset(chosen)
    for size in range(len(Terminator) + 1)
    for chosen in itertools.combinations(Terminator, size)
]


@pytest.mark.parametrize("terminators", SETS_OF_TERMINATORS, ids=lambda t: "+".join(sorted(t)))
def test_every_byte_of_every_line_matters(terminators: frozenset[Terminator]) -> None:
    program = line_filter(Family.IPV4, [], terminators)
    for line in (TOKEN, TOKEN + b"\n", LINE):
        near = [
            with_a_byte_changed(line, at, 1 << bit) for at in range(len(line)) for bit in range(8)
        ]
        for payload in [line, line[:-1], line + b"\0", b"\0" + line, line + LINE, *near]:
            accepted = parse_datagram(payload, terminators) is Outcome.ACCEPTED
            assert bool(run(program, Family.IPV4, 1, payload)) is accepted, payload


@given(allow_and_source(), payloads)
def test_on_udp_source_and_line_must_both_be_good(
    case: tuple[list[Network], Family, int], payload: bytes
) -> None:
    allow, family, source = case
    verdict = run(line_filter(family, allow, Terminator), family, source, payload)
    good_line = parse_datagram(payload, frozenset(Terminator)) is Outcome.ACCEPTED
    assert bool(verdict) is (good_line and listed(family, source, allow))


def test_the_default_datagram_program_is_small() -> None:
    assert len(line_filter(Family.IPV6, [], STRICT)) <= 14


def test_networks_of_different_lengths_are_never_the_halves_of_one() -> None:
    allow = [network("10.0.0.0/9"), network("10.128.0.0/10")]
    assert merge(allow) == tuple(allow)
    allow = [network("10.0.0.0/9"), network("10.128.0.0/9")]
    assert merge(allow) == (network("10.0.0.0/8"),)
    assert merge([network("0.0.0.0/1"), network("128.0.0.0/1")]) == (network("0.0.0.0/0"),)


def test_a_datagram_of_a_listed_sender_behind_a_translator_passes() -> None:
    own = network("2001:db8:64::/96")
    translation, behind = Translation([own]), own.prefix | 0xC0000219
    program = line_filter(Family.IPV6, [network("192.0.2.25")], STRICT, translation)
    assert run(program, Family.IPV6, behind, LINE) == EVERYTHING
    assert run(program, Family.IPV6, behind + 1, LINE) == 0
    without = line_filter(Family.IPV6, [network("192.0.2.25")], STRICT)
    assert run(without, Family.IPV6, behind, LINE) == 0


@pytest.mark.parametrize("family", Family)
def test_of_every_length_each_bit_of_the_network_is_compared_and_none_of_the_host(
    family: Family,
) -> None:
    ones = (1 << family.bits) - 1
    for length in range(1, family.bits + 1):
        host = ones >> length
        program = source_filter(family, [Network(family, ones ^ host, length)])
        assert run(program, family, ones, b"") == EVERYTHING
        assert run(program, family, ones ^ host, b"") == EVERYTHING
        for bit in (0, length - 1):
            assert run(program, family, ones ^ 1 << (family.bits - 1 - bit), b"") == 0


@pytest.mark.parametrize("private", ["10.1.2.3", "172.16.0.1", "192.168.1.7", "100.64.0.1"])
def test_only_behind_a_translator_of_its_own_is_a_private_sender_listed(private: str) -> None:
    own = network("2001:db8:64::/96")
    program = source_filter(Family.IPV6, [network("0.0.0.0/0")], Translation([own]))
    address = int(ipaddress.IPv4Address(private))
    well_known = int(ipaddress.IPv6Address("64:ff9b::"))
    assert run(program, Family.IPV6, own.prefix | address, b"") == EVERYTHING
    assert run(program, Family.IPV6, well_known | address, b"") == 0
    assert run(program, Family.IPV6, well_known | 0xC0000219, b"") == EVERYTHING


def test_only_a_comparison_has_two_targets() -> None:
    """The others leave both at zero, as the kernel's tools print and read them."""
    allow = [network("192.0.2.0/25"), network("2001:db8::/33")]
    own = Translation([network("2001:db8:64::/96")])
    for program in (
        source_filter(Family.IPV6, []), line_filter(Family.IPV6, allow, Terminator, own),
    ):  # fmt: skip
        others = [each for each in program if each.code != 0x15]
        assert {(each.jump_true, each.jump_false) for each in others} == {(0, 0)}
