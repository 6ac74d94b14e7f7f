"""The configuration of mailbell-sender: its keys, their defaults and their bounds.

`parse` takes bytes and returns a `Configuration`, or raises a `ConfigurationError` with
every problem of the file. This module does not check whether the machine has what the
configuration names (the users, the directories, a free port). docs/configuration.md has the
same keys as a table.
"""

import re
from collections.abc import Iterator, Sequence
from typing import Annotated, ClassVar, Final, NamedTuple, Self

from msgspec import Meta, Struct

from mailbell.configuration.reader import INVALID, Problems, each, quote, read
from mailbell.configuration.values import (
    Duration,
    Endpoint,
    Rate,
    SocketPath,
    array,
    between,
    whole,
)
from mailbell.core.mailbox import MAILBOX_FORM, normalize_mailbox
from mailbell.core.networks import Address, Family, Network, parse_address
from mailbell.core.notification import Transport

__all__ = [
    "AccountSettings",
    "Backoff",
    "Configuration",
    "DefaultAccount",
    "LastUsedSettings",
    "Listen",
    "Mailbox",
    "OptionalPath",
    "Quiet",
    "Send",
    "Store",
    "StoreUrl",
    "TargetSetting",
    "parse",
]

_USER = Meta(
    pattern=r"\A[A-Za-z_][A-Za-z0-9_.-]{0,31}\Z",
    description='the name of a user, such as "mailbell-sender"',
)
_GROUP = Meta(
    pattern=r"\A([A-Za-z_][A-Za-z0-9_.-]{0,31})?\Z",
    description='the name of a group, such as "mailbell-sender", or "" for the daemon\'s own',
)
_TRANSPORT = Meta(description='"tcp" or "udp"')
_BOOLEAN = Meta(description="true or false")
_FOLDER = Meta(
    pattern=r"\A[^\x00-\x1f\x7f]{1,255}\Z",
    description='the name of a folder, 1 to 255 characters, such as "Junk"',
)
_NETWORKS = array(256, '["192.0.2.0/24", "2001:db8::/32"]')
_TARGETS = array(16, '["last-used", "192.0.2.7", "laptop.example.net"]')

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
            raise ValueError(f"write {_BACKOFF}") from None
        if not dots or not _SHORTEST_BACKOFF <= found.first <= found.longest <= _LONGEST_BACKOFF:
            raise ValueError(f"write {_BACKOFF}")
        return found

    def __str__(self) -> str:
        return f"{self.first!s}..{self.longest!s}"


_BACKOFF: Final = 'two durations from "1s" to "24h", the shorter one first, such as "30s..10m"'


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


_TARGET: Final = (
    '"last-used", an address or a name, and a port if it is another, such as "192.0.2.7", '
    '"[2001:db8::7]:79" or "laptop.example.net"'
)


def _split_port(text: str) -> tuple[str, int | None]:
    """Return the host without brackets, and the port that the text has."""
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        if not bracket or ":" not in host or (rest and not rest.startswith(":")):
            raise ValueError(f"write {_TARGET}")
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
        raise ValueError(f"write {_TARGET}")
    return name


class Listen(Struct, frozen=True, forbid_unknown_fields=True):
    """Where mail servers speak to the sender, and who may.

    Attributes:
        hook: the path of the stream socket that takes lines from every user.
        control: the path of the Varlink socket.
        comsat: endpoints that take biff datagrams.
        cyrus: the path of the notify socket for Cyrus IMAP; empty: none.
        user: the user that the sender becomes after binding, if root starts it.
        trusted: users who may speak for every account.
        group: the group whose members may use `control`; empty: the sender's own group.
    """

    hook: SocketPath = SocketPath("/run/mailbell-sender/hook")
    control: SocketPath = SocketPath("/run/mailbell-sender/control")
    comsat: Annotated[tuple[Endpoint, ...], array(16, '["127.0.0.1:5512"]')] = ()
    cyrus: Annotated[OptionalPath, Meta(description=OptionalPath.form)] = OptionalPath("")
    user: Annotated[str, _USER] = "mailbell-sender"
    trusted: Annotated[tuple[Annotated[str, _USER], ...], array(64, '["root", "vmail"]')] = (
        "root",
    )
    group: Annotated[str, _GROUP] = "mailbell-sender"


class Quiet(Struct, frozen=True, forbid_unknown_fields=True):
    """Which deliveries ring nobody.

    Attributes:
        folders: names of folders.
    """

    folders: Annotated[
        tuple[Annotated[str, _FOLDER], ...], array(64, '["Junk", "Spam", "Trash"]')
    ] = ("Junk", "Spam", "Trash", "Drafts", "Sent")


class Send(Struct, frozen=True, forbid_unknown_fields=True):
    """How targets are rung.

    Attributes:
        port: the port of a target that names none.
        transport: the transport of an account that names none.
        deadline: seconds for connecting and sending.
        connections: how many targets are rung at once.
        rate: rings per second, all targets together.
        interval: seconds; each target is rung at most once in this time.
        backoff: how long a target that cannot be reached is left alone.
    """

    port: Annotated[int, whole(1, 0xFFFF, 79)] = 79
    transport: Annotated[Transport, _TRANSPORT] = Transport.TCP
    deadline: Annotated[Duration, between(Duration, "100ms", "1m", "2s")] = Duration(2)
    connections: Annotated[int, whole(1, 4096, 256)] = 256
    rate: Annotated[Rate, between(Rate, "1/h", "1000000/s", "1000/s")] = Rate(1000)
    interval: Annotated[Duration, between(Duration, "10ms", "1h", "2s")] = Duration(2)
    backoff: Annotated[Backoff, Meta(description=_BACKOFF)] = Backoff(Duration(30), Duration(600))


class LastUsedSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """Which addresses count as those from which a user last looked for mail.

    Attributes:
        ttl: seconds for which an address is used after a login.
        addresses: addresses of one account, the newest first.
        allow: only these networks; empty: all but those that are never called. It permits
            those too.
        deny: never these networks, even if `allow` has them.
    """

    ttl: Annotated[Duration, between(Duration, "1m", "7d", "30m")] = Duration(1800)
    addresses: Annotated[int, whole(1, 16, 4)] = 4
    allow: Annotated[tuple[Network, ...], _NETWORKS] = ()
    deny: Annotated[tuple[Network, ...], _NETWORKS] = ()


class Store(Struct, frozen=True, forbid_unknown_fields=True):
    """What survives a restart.

    Attributes:
        url: where it is kept.
    """

    url: StoreUrl = StoreUrl("sqlite:///var/lib/mailbell-sender/state.db")


class AccountSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """One account of the mail server.

    Attributes:
        name: as the mail server says it.
        aliases: other names of the account.
        targets: what is rung for it.
        transport: how; None: as `[send]` says.
        enabled: whether it is rung at all.
    """

    name: Mailbox
    aliases: Annotated[tuple[Mailbox, ...], array(64, '["anna"]')] = ()
    targets: Annotated[
        tuple[Annotated[TargetSetting, Meta(description=_TARGET)], ...], _TARGETS
    ] = (TargetSetting(None, None),)
    transport: Annotated[Transport | None, _TRANSPORT] = None
    enabled: Annotated[bool, _BOOLEAN] = True


class DefaultAccount(Struct, frozen=True, forbid_unknown_fields=True):
    """Every account that is not listed.

    Attributes:
        targets: what is rung for it; none: nobody.
    """

    targets: Annotated[
        tuple[Annotated[TargetSetting, Meta(description=_TARGET)], ...],
        _TARGETS,
    ] = ()


class Configuration(Struct, frozen=True, forbid_unknown_fields=True):
    """Everything that the operator can set.

    Attributes:
        listen: where mail servers speak to the sender, and who may.
        quiet: which deliveries ring nobody.
        send: how targets are rung.
        last_used: which addresses count as last used.
        store: what survives a restart.
        account: the listed accounts.
        default: every other account.
    """

    listen: Listen = Listen()
    quiet: Quiet = Quiet()
    send: Send = Send()
    last_used: LastUsedSettings = LastUsedSettings()
    store: Store = Store()
    account: Annotated[
        tuple[AccountSettings, ...],
        array(10_000, '[[account]] with name = "anna@example.org"'),
    ] = ()
    default: DefaultAccount = DefaultAccount()

    @property
    def endpoints(self) -> Iterator[tuple[TargetSetting, int, Transport]]:
        """Every target with its port and its transport, which `[send]` says if it does not."""
        for account in self.account:
            for target in account.targets:
                yield (
                    target,
                    target.port or self.send.port,
                    account.transport or self.send.transport,
                )
        for target in self.default.targets:
            yield target, target.port or self.send.port, self.send.transport

    @property
    def possible_users(self) -> Iterator[str]:
        """Names that users of this machine may have, and that matter if they do.

        A name service may be slow, and there may be ten thousand accounts. So accounts with a
        domain are left out: hardly any user has such a name.
        """
        yield from self.listen.trusted
        for account in self.account:
            yield from (name for name in (account.name, *account.aliases) if "@" not in name)

    @property
    def ports(self) -> frozenset[int]:
        """The TCP ports that the sender may connect to."""
        return frozenset(port for _, port, how in self.endpoints if how is Transport.TCP)

    @property
    def has_udp(self) -> bool:
        """Whether any target is rung by UDP."""
        return any(how is Transport.UDP for _, _, how in self.endpoints)

    @property
    def has_names(self) -> bool:
        """Whether any target is a name, which must be looked up."""
        return any(isinstance(target.host, str) for target, _, _ in self.endpoints)


def parse(data: bytes) -> Configuration:
    """Read a configuration.

    Args:
        data: the file: TOML in UTF-8, at most 1 MiB, no line over 1024 bytes.

    Returns:
        A valid configuration. This machine may still lack something that it names.

    Raises:
        ConfigurationError: with every problem of the file.
    """
    problems = Problems()
    configuration = read(data, Configuration, problems)
    _check_sockets(configuration.listen, problems)
    _check_accounts(configuration.account, problems)
    _check_targets("default", configuration.default.targets, problems)
    problems.raise_if_any()
    return configuration


def _check_sockets(listen: Listen, problems: Problems) -> None:
    paths = {"hook": listen.hook, "control": listen.control, "cyrus": listen.cyrus}
    first: dict[str, str] = {}
    for key, path in paths.items():
        if path is INVALID or not path:
            continue
        if first.setdefault(path, key) != key:
            problems.add(
                f"listen.{key}", f"{quote(path)} is listen.{first[path]} too: choose another"
            )
    seen: set[Endpoint] = set()
    for place, endpoint in each(listen.comsat):
        if endpoint in seen and endpoint.port:  # port 0 is a different port each time
            problems.add(
                f"listen.comsat[{place}]", f"{quote(str(endpoint))} is there twice: remove one"
            )
        seen.add(endpoint)


def _check_accounts(accounts: Sequence[AccountSettings], problems: Problems) -> None:
    first: dict[str, str] = {}
    for place, account in each(accounts):
        path = f"account[{place}]"
        names = [(f"{path}.name", account.name)] if account.name is not INVALID else []
        names += [(f"{path}.aliases[{which}]", alias) for which, alias in each(account.aliases)]
        for where, name in names:
            earlier = first.setdefault(normalize_mailbox(name) or name, where)
            if earlier != where:
                problems.add(where, f"{quote(name)} is {earlier} too: choose another")
        if account.targets == () and account.enabled is True:
            problems.add(f"{path}.targets", "would ring nobody: write a target or enabled = false")
        _check_targets(path, account.targets, problems)


def _check_targets(path: str, targets: Sequence[TargetSetting], problems: Problems) -> None:
    seen: set[TargetSetting] = set()
    for place, target in each(targets):
        if target in seen:
            problems.add(
                f"{path}.targets[{place}]", f"{quote(str(target))} is there twice: remove one"
            )
        seen.add(target)
