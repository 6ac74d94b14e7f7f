"""Builds the classic BPF programs of the listening sockets: the kernel refuses first.

A packet that these programs drop costs the daemon nothing: no wake-up, no byte read, no
table entry. The programs depend only on `sources.allow` and the terminators. So they can
be reviewed, printed and run without a socket. `mailbell._sys.bpf` attaches them.

A program is a list of paragraphs. A paragraph is a list of tests and one verdict. If all
tests hold, the verdict is reached; if one fails, the next paragraph follows. After the
last paragraph the packet is dropped. So a test never jumps out of its paragraph, and
the 8 bits of a jump (`struct sock_filter`) are enough for any number of networks.

Instruction set and the limit of 4096: Linux, Documentation/networking/filter.rst
and include/uapi/linux/{bpf_common,filter}.h.
"""

from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from mailbell._sys.bpf_program import Instruction, Program
from mailbell.core.networks import Family, Network
from mailbell.core.rfc4146 import LINES, Terminator
from mailbell.core.translation import Translation

__all__ = [
    "line_filter",
    "merge",
    "source_filter",
]


class _Test(NamedTuple):
    """Instructions that load a value into the accumulator, and the value that must be there."""

    load: Program
    wanted: int


_LOAD_WORD: Final = 0x20  # BPF_LD | BPF_W | BPF_ABS
_LOAD_LENGTH: Final = 0x80  # BPF_LD | BPF_W | BPF_LEN
_LOAD_CELL: Final = 0x60  # BPF_LD | BPF_W | BPF_MEM
_STORE_CELL: Final = 0x02  # BPF_ST
_AND: Final = 0x54  # BPF_ALU | BPF_AND | BPF_K
_JUMP: Final = 0x05  # BPF_JMP | BPF_JA
_JUMP_EQUAL: Final = 0x15  # BPF_JMP | BPF_JEQ | BPF_K
_RETURN: Final = 0x06  # BPF_RET | BPF_K

# A program returns how many bytes the kernel keeps. This one keeps all, whatever the
# length: accepted sockets inherit the program of their listener, and a program that cut
# or dropped by length would break their streams.
_ACCEPT: Final = Instruction(_RETURN, 0, 0, 0xFFFFFFFF)
_DROP: Final = Instruction(_RETURN, 0, 0, 0)

# Offsets above this number count from the network header (SKF_NET_OFF). On a TCP or UDP
# socket that header is before the data that the program gets.
_NETWORK_HEADER: Final = 0xFFF00000
# The offset of the source address: RFC 791, section 3.1, and RFC 8200, section 3. Both
# addresses are in the fixed part, before any option or extension header.
_SOURCE_AT: Final = {Family.IPV4: 12, Family.IPV6: 8}

# A program on a UDP socket gets the datagram with its header of 8 bytes (RFC 768).
_UDP_HEADER: Final = 8


def source_filter(
    family: Family, allow: Sequence[Network], translation: Translation | None = None
) -> Program:
    """Build the program of a listening TCP socket.

    The program sees the SYN, so a source that is not listed cannot finish a handshake.

    Args:
        family: the family of the socket. An IPv6 socket must be `IPV6_V6ONLY`.
        allow: `sources.allow`, of both families; empty: every source may connect.
        translation: the translators through which IPv4 senders may come to an IPv6 socket.

    Returns:
        The program. It never tests the length.
    """
    if not allow:
        return (_ACCEPT,)
    # The address is copied to scratch memory first: a load from the network header is a
    # function call in the kernel, a load from scratch memory is one machine instruction.
    program = []
    for cell in range(family.bits // 32):
        offset = _NETWORK_HEADER + _SOURCE_AT[family] + 4 * cell
        program += [Instruction(_LOAD_WORD, 0, 0, offset), Instruction(_STORE_CELL, 0, 0, cell)]
    program += _list_filter(family, allow)
    if family is Family.IPV6 and any(network.family is Family.IPV4 for network in allow):
        program += _translated_filter(allow, translation or Translation())
    return (*program, _DROP)


def _list_filter(family: Family, allow: Iterable[Network]) -> list[Instruction]:
    """Return instructions that accept the listed networks of a family, and else go on."""
    program = []
    for network in merge(network for network in allow if network.family is family):
        program += _paragraph(_network_tests(network), _ACCEPT)
    return program


def _translated_filter(allow: Iterable[Network], translation: Translation) -> list[Instruction]:
    """Return instructions that accept listed IPv4 networks in the addresses of translators.

    The program has each IPv4 network once, and not once for each prefix of a translator. So
    it cannot become longer than the kernel permits.
    """
    # The IPv4 address is the last word of the address. It takes the place of the first.
    embedded = [Instruction(_LOAD_CELL, 0, 0, 3), Instruction(_STORE_CELL, 0, 0, 0)]
    well_known, *_ = translation.prefixes
    # Each prefix has networks for which it does not stand. The well-known prefix has those
    # of all others too, which follow below.
    private = [*embedded, *_drop(translation.excluded(well_known))]
    listed = [*embedded, *_drop(translation.excluded_by_all), *_list_filter(Family.IPV4, allow)]
    # Built from the last paragraph to the first: an address under a prefix jumps over the
    # other prefixes and over the instruction for an address under none of them.
    program = [_DROP]
    for prefix in reversed(translation.prefixes):
        distance = len(program) + (0 if prefix is well_known else len(private))
        to_listed = Instruction(_JUMP, 0, 0, distance)
        program = [*_paragraph(_network_tests(prefix), to_listed), *program]
    return [*program, *private, *listed]


def _drop(networks: Iterable[Network]) -> list[Instruction]:
    """Return instructions that drop the addresses of networks, and else go on."""
    return [
        instruction
        for network in networks
        for instruction in _paragraph(_network_tests(network), _DROP)
    ]


def line_filter(
    family: Family,
    allow: Sequence[Network],
    terminators: Iterable[Terminator],
    translation: Translation | None = None,
) -> Program:
    """Build the program of a UDP socket: it accepts only whole lines from listed sources.

    It accepts exactly the datagrams that `mailbell.core.rfc4146.parse_datagram` accepts.

    Args:
        family: the family of the socket. An IPv6 socket must be `IPV6_V6ONLY`.
        allow: `sources.allow`, of both families; empty: every source may send.
        terminators: the permitted ends of a line.
        translation: the translators through which IPv4 senders may come to an IPv6 socket.

    Returns:
        The program.
    """
    admitted = source_filter(family, allow, translation)
    permitted = frozenset(terminators)
    # Built from the last paragraph to the first: a good line jumps over all that follow.
    program = [_DROP, *admitted]
    for line in (LINES[terminator] for terminator in Terminator if terminator in permitted):
        distance = len(program) - len(admitted)
        program = [*_paragraph(_line_tests(line), Instruction(_JUMP, 0, 0, distance)), *program]
    return tuple(program)


def merge(networks: Iterable[Network]) -> tuple[Network, ...]:
    """Cover the same addresses with as few networks as possible.

    Args:
        networks: networks of any family, in any order.

    Returns:
        Sorted networks. None contains another, and no two are the halves of a third.
    """
    merged: list[Network] = []
    for network in sorted(set(networks), key=lambda n: (n.family, n.prefix, n.length)):
        # In this order a network comes after every network that contains it.
        if merged and merged[-1].contains(network):
            continue
        merged.append(network)
        while len(merged) > 1 and (whole := _union(merged[-2], merged[-1])) is not None:
            merged[-2:] = [whole]
    return tuple(merged)


def _union(low: Network, high: Network) -> Network | None:
    """Return the network whose two halves these are, or None."""
    if low.family is not high.family or low.length != high.length or low.length == 0:
        return None
    half = 1 << (low.family.bits - low.length)
    if high.prefix != low.prefix | half:
        return None
    return Network(low.family, low.prefix, low.length - 1)


def _network_tests(network: Network) -> list[_Test]:
    """Return tests that compare the address in scratch memory with a prefix, in 32-bit words."""
    bits = network.family.bits
    mask = (1 << bits) - (1 << (bits - network.length))
    tests = []
    for cell in range((network.length + 31) // 32):
        shift = bits - 32 * (cell + 1)
        relevant = (mask >> shift) & 0xFFFFFFFF
        load = [Instruction(_LOAD_CELL, 0, 0, cell)]
        if relevant != 0xFFFFFFFF:
            load.append(Instruction(_AND, 0, 0, relevant))
        tests.append(_Test(tuple(load), (network.prefix >> shift) & 0xFFFFFFFF))
    return tests


def _line_tests(line: bytes) -> list[_Test]:
    """Return tests that compare a datagram with a line: its length, then its 32-bit words."""
    tests = [_Test((Instruction(_LOAD_LENGTH, 0, 0, 0),), _UDP_HEADER + len(line))]
    # If four does not divide the length, the last word overlaps the word before it.
    starts = [*range(0, len(line) - 4, 4), len(line) - 4]
    for start in starts:
        word = int.from_bytes(line[start : start + 4], "big")
        tests.append(_Test((Instruction(_LOAD_WORD, 0, 0, _UDP_HEADER + start),), word))
    return tests


def _paragraph(tests: Iterable[_Test], verdict: Instruction) -> list[Instruction]:
    """Return instructions that reach the verdict if all tests hold, and else skip it."""
    paragraph = [verdict]
    for load, wanted in reversed([*tests]):
        paragraph = [
            *load,
            Instruction(_JUMP_EQUAL, 0, len(paragraph), wanted),
            *paragraph,
        ]
    return paragraph
