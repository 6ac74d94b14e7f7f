"""Classic BPF programs for the listening sockets: the kernel as first line.

What these programs drop costs the daemon nothing: no wake-up, no byte read, no
table entry. They are built from `sources.allow` and the terminators alone, so
they can be reviewed, printed and evaluated without a socket. `mailbell._sys.bpf`
hands them to the kernel.

A program is a row of paragraphs. A paragraph is a row of tests; when all of
them hold it ends in its verdict, when one fails the next paragraph is tried.
After the last paragraph the packet is dropped. Jumps therefore never leave
their paragraph, and the 8 bits a jump has (`struct sock_filter`) are enough
for any number of networks.

Instruction set and the limit of 4096: Linux, Documentation/networking/filter.rst
and include/uapi/linux/{bpf_common,filter}.h.
"""

from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from mailbell._sys.bpf_program import Instruction, Program
from mailbell.core.networks import Family, Network
from mailbell.core.rfc4146 import LINES, Terminator

__all__ = [
    "line_filter",
    "merge",
    "source_filter",
]


class _Test(NamedTuple):
    """Instructions that leave a value in the accumulator, and the value wanted there."""

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

# What a program returns is the number of bytes to keep. All of them, whatever the
# length: accepted sockets inherit the program of their listener, and one that cut
# or dropped by length would break streams it was never asked about.
_ACCEPT: Final = Instruction(_RETURN, 0, 0, 0xFFFFFFFF)
_DROP: Final = Instruction(_RETURN, 0, 0, 0)

# Offsets from here count from the network header, which on a TCP or UDP socket
# lies before the data the program is given (SKF_NET_OFF).
_NETWORK_HEADER: Final = 0xFFF00000
# RFC 791, section 3.1, and RFC 8200, section 3: where the source address stands.
# Both are in the fixed part, before any option or extension header.
_SOURCE_AT: Final = {Family.IPV4: 12, Family.IPV6: 8}

# A program on a UDP socket is given the datagram with its header (RFC 768).
_UDP_HEADER: Final = 8


def source_filter(family: Family, allow: Sequence[Network]) -> Program:
    """Build the program of a listening TCP socket.

    It sees the SYN, so a source that is not listed cannot finish a handshake.

    Args:
        family: of the socket, which must be `IPV6_V6ONLY` if it is IPv6.
        allow: `sources.allow`, both families; empty means anyone.

    Returns:
        The program; it never looks at the length.
    """
    if not allow:
        return (_ACCEPT,)
    # The address goes to scratch memory first: a load from the network header is a
    # call in the kernel, a load from scratch memory is one machine instruction.
    program = []
    for cell in range(family.bits // 32):
        offset = _NETWORK_HEADER + _SOURCE_AT[family] + 4 * cell
        program += [Instruction(_LOAD_WORD, 0, 0, offset), Instruction(_STORE_CELL, 0, 0, cell)]
    for network in merge(network for network in allow if network.family is family):
        program += _paragraph(_network_tests(network), _ACCEPT)
    return (*program, _DROP)


def line_filter(
    family: Family, allow: Sequence[Network], terminators: Iterable[Terminator]
) -> Program:
    """Build the program of a UDP socket: whole lines from listed sources, nothing else.

    It admits exactly what `mailbell.core.rfc4146.parse_datagram` accepts.

    Args:
        family: of the socket, which must be `IPV6_V6ONLY` if it is IPv6.
        allow: `sources.allow`, both families; empty means anyone.
        terminators: those permitted after the token.

    Returns:
        The program.
    """
    admitted = source_filter(family, allow)
    permitted = frozenset(terminators)
    # From the last to the first: a good line jumps over the paragraphs that follow.
    program = [_DROP, *admitted]
    for line in (LINES[terminator] for terminator in Terminator if terminator in permitted):
        distance = len(program) - len(admitted)
        program = [*_paragraph(_line_tests(line), Instruction(_JUMP, 0, 0, distance)), *program]
    return tuple(program)


def merge(networks: Iterable[Network]) -> tuple[Network, ...]:
    """Write the same addresses with as few networks as possible.

    Args:
        networks: of any family, in any order.

    Returns:
        Sorted; no network contains another, no two are the halves of a third.
    """
    merged: list[Network] = []
    for network in sorted(set(networks), key=lambda n: (n.family, n.prefix, n.length)):
        # Sorted so, a network stands after every one that contains it.
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
    """Compare the address in scratch memory with a prefix, 32 bits at a time."""
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
    """Compare a datagram with a line: its length, then its bytes four at a time."""
    tests = [_Test((Instruction(_LOAD_LENGTH, 0, 0, 0),), _UDP_HEADER + len(line))]
    # The last word overlaps the one before it where four does not divide the length.
    starts = [*range(0, len(line) - 4, 4), len(line) - 4]
    for start in starts:
        word = int.from_bytes(line[start : start + 4], "big")
        tests.append(_Test((Instruction(_LOAD_WORD, 0, 0, _UDP_HEADER + start),), word))
    return tests


def _paragraph(tests: Iterable[_Test], verdict: Instruction) -> list[Instruction]:
    """Reach the verdict when all tests hold, else skip to what follows it."""
    paragraph = [verdict]
    for load, wanted in reversed([*tests]):
        paragraph = [
            *load,
            Instruction(_JUMP_EQUAL, 0, len(paragraph), wanted),
            *paragraph,
        ]
    return paragraph
