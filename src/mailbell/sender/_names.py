"""What the sender knows of names: their addresses for some time, and which have none.

It also has the words that the sender and its resolver say to each other. Each message is one
line of ASCII. Both sides check what they are told and ignore what they do not understand.
"""

import re
from collections.abc import Iterable
from enum import StrEnum
from itertools import chain, zip_longest
from typing import Final, NamedTuple, Protocol

from mailbell.core.networks import Address, Family

__all__ = [
    "ADDRESSES",
    "LONGEST",
    "MAX_MESSAGE",
    "MAX_NAME",
    "MAX_NAMES",
    "SHORTEST",
    "Answer",
    "NameCache",
    "NameUnknownError",
    "Names",
    "Reason",
    "by_turns",
    "decode_answer",
    "encode_answer",
    "is_name",
]

MAX_NAME: Final = 253
"""Characters of a name: RFC 1035, section 2.3.4, without the dot at the end."""
SHORTEST: Final = 30.0
"""Seconds that an answer is kept at least, so that a name server is not asked for each mail."""
LONGEST: Final = 3600.0
"""Seconds that an answer is kept at most."""
ADDRESSES: Final = 16
"""Addresses of one name that are kept, of both families together."""
MAX_NAMES: Final = 65_536
"""Names that are known or asked for at once."""
MAX_MESSAGE: Final = 2048
"""Bytes of a message. The longest has a name of 253 characters and 16 IPv6 addresses."""

_LABEL: Final = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_NAME: Final = re.compile(rf"{_LABEL}(?:\.{_LABEL})*", re.ASCII)
_SECONDS: Final = re.compile(r"[0-9]{1,5}", re.ASCII)


class Reason(StrEnum):
    """Why a name has no address now."""

    NOT_FOUND = "not_found"  # the DNS has no such name
    NO_ADDRESS = "no_address"  # the name exists
    FAILED = "failed"  # every name server answered with an error, or with nonsense
    TIMEOUT = "timeout"  # no name server answered in time
    BUSY = "busy"  # too many names are asked for
    GONE = "gone"  # the resolver has ended


class NameUnknownError(Exception):
    """A name has no address now. Raised by `Names.lookup`; the ring ends as `name_unknown`.

    Args:
        name: the name.
        reason: why it has none.
    """

    def __init__(self, name: str, reason: Reason) -> None:
        super().__init__(name, reason)
        self.name = name
        self.reason = reason


class Names(Protocol):
    """Finds the addresses of names."""

    async def lookup(self, name: str) -> tuple[Address, ...]:
        """Find the addresses of a name. It takes some seconds at most.

        Args:
            name: in lower case, without a dot at its end: see `is_name`.

        Returns:
            One address at least, in the order in which they should be tried: both families
            by turns, IPv6 first (RFC 8305, section 4).

        Raises:
            NameUnknownError: it has none now.
        """


class Answer(NamedTuple):
    """What is known of a name.

    Attributes:
        name: the name.
        addresses: of both families; none if there is a reason.
        ttl: how long it is true, in whole seconds.
        reason: why there is no address; None: there is one.
    """

    name: str
    addresses: tuple[Address, ...]
    ttl: int
    reason: Reason | None = None


def is_name(text: str) -> bool:
    """Tell whether a text may be asked for as a name.

    Args:
        text: any text.

    Returns:
        Whether it is letters, digits, hyphens and underscores between dots, in lower case
        and without a dot at its end. International names must be written as `xn--...`.

    Source: RFC 1035, section 2.3.1; RFC 1123, section 2.1.
    """
    return len(text) <= MAX_NAME and _NAME.fullmatch(text) is not None


def encode_answer(answer: Answer) -> bytes:
    """Write what the resolver found as one message for the sender.

    Args:
        answer: with `ADDRESSES` addresses at most.
    """
    found = ",".join(map(str, answer.addresses))
    return f"{answer.name} {answer.ttl} {answer.reason or '-'} {found}".encode("ascii")


def decode_answer(data: bytes) -> Answer | None:
    """Read a message of the resolver. An intruder in the resolver may have written it.

    Args:
        data: the message, `MAX_MESSAGE` bytes at most.

    Returns:
        The answer; None: it is no answer. The addresses may be any addresses.
    """
    try:
        name, seconds, word, found = data.decode("ascii").split(" ")
        reason = None if word == "-" else Reason(word)
        addresses = tuple(map(Address.parse, found.split(","))) if found else ()
    except ValueError:  # UnicodeDecodeError is one
        return None
    if not (is_name(name) and _SECONDS.fullmatch(seconds) and len(addresses) <= ADDRESSES):
        return None
    if (reason is None) != bool(addresses):
        return None
    return Answer(name, addresses, int(seconds), reason)


def by_turns(addresses: Iterable[Address]) -> tuple[Address, ...]:
    """Put addresses into the order in which they should be tried.

    Args:
        addresses: of one name.

    Returns:
        Both families by turns, IPv6 first; within a family the order stays.

    Source: RFC 8305, section 4.
    """
    found = tuple(addresses)
    ipv6 = [each for each in found if each.family is Family.IPV6]
    ipv4 = [each for each in found if each.family is Family.IPV4]
    return tuple(filter(None, chain.from_iterable(zip_longest(ipv6, ipv4))))


class NameCache:
    """Keeps answers between `SHORTEST` and `LONGEST` seconds.

    Args:
        names: how many answers are kept. The one that was learned first gives way.
    """

    def __init__(self, names: int = MAX_NAMES) -> None:
        self._most = names
        self._kept: dict[str, tuple[float, Answer]] = {}

    def __len__(self) -> int:
        return len(self._kept)

    def find(self, name: str, now: float) -> Answer | None:
        """Return what is known of a name.

        Args:
            name: the name.
            now: the time in seconds.

        Returns:
            The answer; None: nothing is known, or no longer.
        """
        expires, answer = self._kept.get(name, (0.0, None))
        if answer is None or now < expires:
            return answer
        del self._kept[name]
        return None

    def keep(self, answer: Answer, now: float) -> None:
        """Keep an answer in the place of an older one.

        Args:
            answer: what was found, or that nothing was found.
            now: the time in seconds.
        """
        self._kept.pop(answer.name, None)  # the new answer is the latest, in the order too
        if len(self._kept) >= self._most:
            del self._kept[next(iter(self._kept))]
        expires = now + min(max(answer.ttl, SHORTEST), LONGEST)
        self._kept[answer.name] = (expires, answer)
