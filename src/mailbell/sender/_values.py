"""The types of values that only the sender's configuration has: names, targets, back-off.

Each reads one textual form with `parse`, as `mailbell.configuration.values` explains.
"""

from typing import ClassVar, Final, NamedTuple, Self

from mailbell.configuration.values import Duration, SocketPath
from mailbell.core.mailbox import MAILBOX_FORM, normalize_mailbox
from mailbell.core.networks import Address, Family
from mailbell.sender._host_port import read_host_port

__all__ = [
    "BACKOFF_FORM",
    "TARGET_FORM",
    "Backoff",
    "Mailbox",
    "OptionalFile",
    "OptionalPath",
    "TargetSetting",
]

_LAST_USED: Final = "last-used"
_LONGEST_PATH: Final = 4000
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


class OptionalFile(str):
    """The path of a file, or empty for none."""

    __slots__ = ()
    form: ClassVar[str] = 'the absolute path of a file, or ""'

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read an absolute path, or an empty text.

        Args:
            text: as it is written in the configuration.

        Returns:
            The path, or an empty text.

        Raises:
            ValueError: the text is anything else; the message says what to write.
        """
        sound = text.startswith("/") and not text.endswith("/") and text.isprintable()
        if text and (not sound or len(text.encode()) > _LONGEST_PATH):
            raise ValueError(f"write {cls.form}")
        return cls(text)


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
        host, port = read_host_port(text, TARGET_FORM)
        if host == _LAST_USED:
            # A host of this name could not be told from the word.
            raise ValueError('write "last-used" in small letters and without a port')
        return cls(host, port)

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
