"""Makes inputs for mailbelld: the line, what nearly is the line, and what is nothing like it."""

from collections.abc import Callable
from itertools import pairwise
from random import Random
from typing import Final

from torture.inputs.speaking import Ends, Input

__all__ = ["cut", "make_bytes", "make_connection"]

LINE: Final = b"nm_notifyuser\r\n"
_WORD: Final = b"nm_notifyuser"
_TAILS: Final = (
    b"", b"\r", b"\n", b"\r\n", b"\n\r", b"\r\r\n", b"\r\n\r\n", b" \r\n", b"\0\r\n", b"\0",
    b"\t\r\n", b"\r\0", b"\x0b\r\n", b"\xe2\x80\xa8", b"\x85\r\n", b"\r\n\0", b"\r\n ", b"\n\n",
)  # fmt: skip
_WORDS: Final = (
    b"nm_notifyuser", b"NM_NOTIFYUSER", b"Nm_Notifyuser", b"nmnotifyuser", b"nm-notifyuser",
    b"nm_notify", b"nm_notifyusers", b" nm_notifyuser", b"\xef\xbb\xbfnm_notifyuser",
    "nm_notifyus\u0435r".encode(), b"nm_notifyuser@host", b"/W nm_notifyuser", b"nm__notifyuser",
    "nm_notifyuser".encode("utf-16-le"),
)  # fmt: skip
_QUERIES: Final = (
    b"\r\n", b"root\r\n", b"/W root\r\n", b"/W  \r\n", b"/W\r\n", b"root@localhost\r\n", b"root",
    b"/W r", b"/W ", b"/", b"root\r", b"a@b@c\r\n", b"anna bert\r\n", b"/w root\r\n", b"nmnot\r\n",
    b"enmnotes\r\n", b"n.m.n.o.t\r\n",
)  # fmt: skip
_OTHERS: Final = (
    b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"EHLO x\r\n", b"\x16\x03\x01\x02\x00\x01\x00\x01",
    b"%s%n%x", b"\x1b]0;x\x07", b"\0" * 15, b"\xff" * 16, b"SSH-2.0-x\r\n", b"*1\r\n$4\r\nPING\r\n",
    b"x\nevent=locked uid=0\r\n", b'" data="',
)  # fmt: skip
_LONG: Final = (17, 64, 512, 1460, 4096, 20_000)
_BYTES: Final = bytes(range(256))
# Each piece of a connection that is reset must have left the sender by then: not more pieces than
# TCP sends without an answer.
_MOST_PIECES: Final = 6


def _good(rng: Random) -> bytes:
    del rng
    return LINE


def _ended(rng: Random) -> bytes:
    return _WORD + rng.choice(_TAILS)


def _similar(rng: Random) -> bytes:
    return rng.choice(_WORDS) + rng.choice(_TAILS)


def _changed(rng: Random) -> bytes:
    """Return the line with one or two bytes changed, added or lost."""
    data = bytearray(LINE)
    for _ in range(1 + (rng.random() < 0.3)):
        place = int(rng.random() * len(data))
        kind = rng.random()
        byte = int(rng.random() * 256)
        if kind < 0.4:
            data[place] = byte
        elif kind < 0.55:
            data[place] ^= 1 << int(rng.random() * 8)
        elif kind < 0.8:
            data.insert(place, byte)
        else:
            del data[place]
    return bytes(data)


def _begun(rng: Random) -> bytes:
    return LINE[: int(rng.random() * 16)]


def _followed(rng: Random) -> bytes:
    """Return a line with more after it: a byte, another line, or much."""
    kind = rng.random()
    if kind < 0.3:
        return LINE + _BYTES[(byte := int(rng.random() * 256)) : byte + 1]
    if kind < 0.8:
        return LINE * (2 + int(rng.random() * 3))
    return LINE + b"x" * rng.choice(_LONG)


def _query(rng: Random) -> bytes:
    if rng.random() < 0.5:
        return rng.choice(_QUERIES)
    user = bytes(33 + int(rng.random() * 94) for _ in range(int(rng.random() * 17)))
    return (b"/W " if rng.random() < 0.3 else b"") + user + rng.choice((b"\r\n", b"\n", b"\r", b""))


def _noise(rng: Random) -> bytes:
    return rng.randbytes(int(rng.random() * 40))


def _foreign(rng: Random) -> bytes:
    return rng.choice(_OTHERS)


def _long(rng: Random) -> bytes:
    return rng.choice((b"x", b"\0", LINE, _WORD, b"\r\n")) * (rng.choice(_LONG) // 4)


# What is made, and how often in a hundred.
_MAKERS: Final[tuple[tuple[Callable[[Random], bytes], int], ...]] = (
    (_good, 16), (_ended, 12), (_similar, 12), (_changed, 24), (_begun, 8), (_followed, 8),
    (_query, 9), (_noise, 6), (_foreign, 3), (_long, 2),
)  # fmt: skip
_HUNDRED: Final = tuple(maker for maker, share in _MAKERS for _ in range(share))


def make_bytes(rng: Random) -> bytes:
    """Return the bytes of one input.

    Args:
        rng: decides.
    """
    return _HUNDRED[int(rng.random() * 100)](rng)


def cut(rng: Random, data: bytes, most: int = _MOST_PIECES) -> tuple[bytes, ...]:
    """Cut bytes at random places.

    Args:
        rng: decides.
        data: what is cut.
        most: the greatest number of pieces.

    Returns:
        The pieces, none of them empty; nothing has no pieces.
    """
    if len(data) < 2 or rng.random() < 0.5:
        return (data,) if data else ()
    # The places that matter are near the beginning.
    near = min(len(data), 20) if rng.random() < 0.8 else len(data)
    cuts = {1 + int(rng.random() * (near - 1)) for _ in range(1 + int(rng.random() * (most - 1)))}
    places = [0, *sorted(cuts), len(data)]
    return tuple(data[a:b] for a, b in pairwise(places) if a < b)


def make_connection(rng: Random, decides: Callable[[bytes], bool], source: int) -> Input:
    """Return one connection.

    Args:
        rng: decides.
        decides: tells whether bytes alone decide. Only after such bytes does the connection stay
            until the daemon closes: otherwise it would stay until the deadline.
        source: where it comes from.
    """
    data = make_bytes(rng)
    kind = rng.random()
    ends = Ends.FINISHES if kind < 0.55 else Ends.LEAVES if kind < 0.75 else Ends.STAYS
    if ends is Ends.STAYS and not decides(data):
        ends = Ends.FINISHES
    return Input(cut(rng, data), ends, source)
