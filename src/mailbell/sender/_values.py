"""The types of values that only the sender's configuration has: names, targets, back-off, store.

Each reads one textual form with `parse`, as `mailbell.configuration.values` explains.
"""

import re
from typing import ClassVar, Final, NamedTuple, Self

from mailbell.configuration.values import Duration, SocketPath
from mailbell.core.mailbox import MAILBOX_FORM, normalize_mailbox
from mailbell.core.networks import Address, Family, parse_address

__all__ = [
    "BACKOFF_FORM",
    "TARGET_FORM",
    "Backoff",
    "Mailbox",
    "OptionalPath",
    "StoreUrl",
    "TargetSetting",
]

_LAST_USED: Final = "last-used"
_PORT: Final = re.compile(r"[1-9][0-9]{0,4}", re.ASCII)
# RFC 1035, section 2.3.1, and RFC 1123, section 2.1. Underscores occur in names of hosts too.
_LABEL: Final = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_NAME: Final = re.compile(rf"(?:{_LABEL}\.)*{_LABEL}", re.ASCII)
# A name whose last label is a number is an address that is written wrongly: "192.0.2".
_NUMBER: Final = re.compile(r"(?:.*\.)?(?:[0-9]+|0x[0-9a-f]*)", re.ASCII)
_LONGEST_NAME: Final = 253
_SHORTEST_BACKOFF: Final = Duration(1)
_LONGEST_BACKOFF: Final = Duration(86_400)


class Mailbox(str):
    """The name of an account, as the mail server says it."""

    __slots__ = ()
    form: ClassVar[str] = MAILBOX_FORM

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a name.

        Args:
            text: as it is written in the configuration.

        Returns:
            The name.

        Raises:
            ValueError: the text is anything else; the message says what to write.
        """
        if normalize_mailbox(text) is None:
            raise ValueError(f"write {cls.form}")
        return cls(text)


class OptionalPath(str):
    """The path of a socket, or empty for none."""

    __slots__ = ()
    form: ClassVar[str] = f'{SocketPath.form}, or ""'

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read an absolute path that fits into a socket address, or an empty text.

        Args:
            text: as it is written in the configuration.

        Returns:
            The path, or an empty text.

        Raises:
            ValueError: the text is anything else; the message says what to write.
        """
        return cls(SocketPath.parse(text) if text else "")


class Backoff(NamedTuple):
    """How long a target that cannot be reached is left alone.

    Attributes:
        first: seconds after the first failure. Each further failure doubles them.
        longest: the most seconds.
    """

    first: float
    longest: float

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read two durations, as in `30s..10m`.

        Args:
            text: as it is written in the configuration.

        Returns:
            The two durations.

        Raises:
            ValueError: the text is anything else; the message says what to write.
        """
        first, dots, longest = text.partition("..")
        try:
            found = cls(Duration.parse(first), Duration.parse(longest))
        except ValueError:
            raise ValueError(f"write {BACKOFF_FORM}") from None
        if not dots or not _SHORTEST_BACKOFF <= found.first <= found.longest <= _LONGEST_BACKOFF:
            raise ValueError(f"write {BACKOFF_FORM}")
        return found

    def __str__(self) -> str:
        return f"{self.first!s}..{self.longest!s}"


BACKOFF_FORM: Final = 'two durations from "1s" to "24h", the shorter one first, such as "30s..10m"'


class StoreUrl(str):
    """Where the sender keeps what must survive a restart."""

    __slots__ = ()
    form: ClassVar[str] = (
        "sqlite:// and an absolute path, such as sqlite:///var/lib/mailbell-sender/state.db"
    )
    _SCHEME: ClassVar[str] = "sqlite://"
    _OTHERS: ClassVar[tuple[str, ...]] = ("redis://", "rediss://", "unix://")

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read the URL of a store. This version has only stores in a file of SQLite.

        Args:
            text: as it is written in the configuration.

        Returns:
            The URL.

        Raises:
            ValueError: the text is anything else; the message says what to write.
        """
        if text.startswith(cls._OTHERS):
            raise ValueError(f"this version has no such store yet: write {cls.form}")
        path = text.removeprefix(cls._SCHEME)
        sound = path.startswith("/") and not path.endswith("/") and path.isprintable()
        # `?` and `#` begin other parts of a URL, which this one does not have.
        if path == text or not sound or len(path.encode()) > 4000 or set(path) & set("?#%"):
            raise ValueError(f"write {cls.form}")
        return cls(text)

    @property
    def path(self) -> str:
        """The path of the file."""
        return self.removeprefix(self._SCHEME)


class TargetSetting(NamedTuple):
    """One target of an account as the operator wrote it.

    Attributes:
        host: a numeric address, or a name of the DNS in lower case without a dot at its end.
            None: the addresses from which the account's user last looked for mail.
        port: 1 to 65535; None: the port of `[send]`.
    """

    host: Address | str | None
    port: int | None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `last-used`, or an address or a name, with or without a port.

        An IPv6 address with a port is in brackets (RFC 3986, section 3.2.2).

        Args:
            text: as it is written in the configuration.

        Returns:
            The target.

        Raises:
            ValueError: the text is anything else; the message says what to write.
        """
        if text == _LAST_USED:
            return cls(None, None)
        host, port = _split_port(text)
        return cls(_host(host), port)

    def __str__(self) -> str:
        if self.host is None:
            return _LAST_USED
        bare = isinstance(self.host, Address) and self.host.family is Family.IPV6
        host = f"[{self.host}]" if bare else str(self.host)
        return host if self.port is None else f"{host}:{self.port}"


TARGET_FORM: Final = (
    '"last-used", an address or a name, and a port if it is another, such as "192.0.2.7", '
    '"[2001:db8::7]:79" or "laptop.example.net"'
)


def _split_port(text: str) -> tuple[str, int | None]:
    """Return the host without brackets, and the port that the text has."""
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        if not bracket or ":" not in host or (rest and not rest.startswith(":")):
            raise ValueError(f"write {TARGET_FORM}")
        return host, _port(rest[1:]) if rest else None
    if text.count(":") == 1:
        host, _, digits = text.partition(":")
        return host, _port(digits)
    return text, None


def _port(digits: str) -> int:
    if not _PORT.fullmatch(digits) or int(digits) > 0xFFFF:
        raise ValueError("write a port from 1 to 65535 after the colon")
    return int(digits)


def _host(text: str) -> Address | str:
    try:
        address = Address(*parse_address(text))
    except ValueError as error:
        if "IPv4" in str(error):
            raise
    else:
        if not address.value:
            raise ValueError("this address stands for every address: write that of one host")
        return address
    name = text.lower().removesuffix(".")
    if not _NAME.fullmatch(name) or len(name) > _LONGEST_NAME or _NUMBER.fullmatch(name):
        raise ValueError(f"write {TARGET_FORM}")
    return name
