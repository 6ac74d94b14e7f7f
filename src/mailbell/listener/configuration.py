"""The configuration of the listener: its keys, their defaults and their bounds.

`parse` takes bytes and returns a `Configuration`, or raises a `ConfigurationError` with
every problem of the file. This module does not check whether the machine has what the
configuration names (the user, the directory, a free port). docs/configuration.md has the
same keys as a table.
"""

from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Final, Literal

from msgspec import Meta, Struct
from msgspec.structs import replace

from mailbell.configuration.reader import INVALID, Problems, convert, each, quote, read
from mailbell.configuration.values import (
    ACCOUNT_NAME,
    Duration,
    Endpoint,
    Mode,
    Rate,
    SocketPath,
    array,
    between,
    whole,
)
from mailbell.core.networks import ADDRESS_FORM, Address, Network
from mailbell.core.rfc4146 import Terminator
from mailbell.core.translation import Translation, TranslatorPrefix

__all__ = [
    "AccountSettings",
    "Coalesce",
    "Configuration",
    "Limits",
    "Listen",
    "LocalSocket",
    "Overrides",
    "Protocol",
    "Sources",
    "parse",
]


# `\Z`, because `$` also matches before a newline at the end.
_USER = Meta(
    pattern=r"\A[A-Za-z_][A-Za-z0-9_.-]{0,31}\Z",
    description='the name of a user, such as "mailbell"',
)
_GROUP = Meta(
    pattern=r"\A([A-Za-z_][A-Za-z0-9_.-]{0,31})?\Z",
    description='the name of a group, such as "mailbell", or "" for the daemon\'s own',
)
_TERMINATOR = Meta(description='"crlf", "lf" or "eof"')
_UNMATCHED = Meta(description='"none" or "all"')
_BOOLEAN = Meta(description="true or false")
_ENDPOINTS = array(64, '["0.0.0.0:79", "[::]:79"]')
_NETWORKS = array(256, '["192.0.2.0/24", "2001:db8::/32"]')
_PREFIXES = array(8, '["2001:db8:64::/96"]')
_ADDRESS = Meta(description=ADDRESS_FORM)
# Combinations of the sources and the called addresses of all accounts. Each takes about 180
# bytes and 13 microseconds of the start.
MAX_COMBINATIONS: Final = 200_000

_RATE = between(Rate, "1/h", "1000000/s", "1/s")


# Every address of each family that this machine has. Some machines have no IPv6.
_EVERYWHERE = (Endpoint.parse("0.0.0.0:79"), Endpoint.parse("[::]:79"))


class Listen(Struct, frozen=True, forbid_unknown_fields=True):
    """Where the daemon listens, and which user it runs as.

    Attributes:
        tcp: endpoints of the stream listener.
        udp: endpoints of the datagram listener. None by default, because a sender can
            forge the source of a datagram.
        user: the user that the daemon becomes after binding, if root starts it.
        freebind: whether to bind addresses that this machine may get later.
    """

    tcp: Annotated[tuple[Endpoint, ...], _ENDPOINTS] = _EVERYWHERE
    udp: Annotated[tuple[Endpoint, ...], _ENDPOINTS] = ()
    user: Annotated[str, _USER] = "mailbell"
    freebind: Annotated[bool, _BOOLEAN] = False

    @property
    def is_default(self) -> bool:
        """Whether `tcp` is neither in the file nor on the command line.

        If the operator wrote the same words as the default, this is false: then the
        operator wants both families, and must learn that one is missing.
        """
        return self.tcp is _EVERYWHERE


class LocalSocket(Struct, frozen=True, forbid_unknown_fields=True):
    """The local socket, on which programs subscribe.

    Attributes:
        path: the path of the socket.
        group: the group whose members may connect; empty: the daemon's own group.
        mode: permission bits.
        subscribers: how many subscribers may be connected at once.
    """

    path: SocketPath = SocketPath("/run/mailbell/mailbell.sock")
    group: Annotated[str, _GROUP] = "mailbell"
    mode: Mode = Mode(0o660)
    subscribers: Annotated[int, whole(1, 1024, 64)] = 64


class Protocol(Struct, frozen=True, forbid_unknown_fields=True):
    """How strictly the daemon reads the protocol of RFC 4146.

    Attributes:
        terminators: the permitted ends of the line.
        deadline: seconds that one connection may take in all.
    """

    terminators: Annotated[
        frozenset[Annotated[Terminator, _TERMINATOR]], array(3, '["crlf"]', least=1)
    ] = frozenset({Terminator.CRLF})
    deadline: Annotated[Duration, between(Duration, "100ms", "1m", "5s")] = Duration(5)


class Sources(Struct, frozen=True, forbid_unknown_fields=True):
    """Which sources may notify.

    Attributes:
        allow: only these networks; empty: all.
        deny: never these networks, even if `allow` has them.
        nat64: prefixes of translators, in addition to the well-known 64:ff9b::/96. An
            address under a prefix stands for the IPv4 address in it.
    """

    allow: Annotated[tuple[Network, ...], _NETWORKS] = ()
    deny: Annotated[tuple[Network, ...], _NETWORKS] = ()
    nat64: Annotated[tuple[TranslatorPrefix, ...], _PREFIXES] = ()

    @property
    def translation(self) -> Translation:
        """All translators that this machine may be behind."""
        return Translation(self.nat64)


class Limits(Struct, frozen=True, forbid_unknown_fields=True):
    """How much one source may send, and all sources together.

    Attributes:
        rate: notifications per second from one source.
        burst: notifications that one source may send at once before the rate counts.
        connections: waiting connections at once, of all sources together.
        connections_per_source: waiting connections at once, of one source.
        sources: how many sources each table remembers.
        total_rate: notifications per second from all sources together.
    """

    rate: Annotated[Rate, _RATE] = Rate(1)
    burst: Annotated[int, whole(1, 1_000_000, 10)] = 10
    connections: Annotated[int, whole(1, 16_384, 256)] = 256
    connections_per_source: Annotated[int, whole(1, 16_384, 8)] = 8
    sources: Annotated[int, whole(8, 1_048_576, 8192)] = 8192
    total_rate: Annotated[Rate, _RATE] = Rate(1000)


class Coalesce(Struct, frozen=True, forbid_unknown_fields=True):
    """How often subscribers are woken.

    Attributes:
        interval: seconds; each account has at most one wake-up in this time.
    """

    interval: Annotated[Duration, between(Duration, "10ms", "1h", "1s")] = Duration(1)


class AccountSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """One account, and the notifications that are for it.

    Attributes:
        name: the name that subscribers use.
        sources: networks of the account's mail servers; empty: all.
        addresses: addresses of this machine that belong to the account; empty: every
            address that belongs to no other account.
    """

    name: Annotated[str, ACCOUNT_NAME]
    sources: Annotated[tuple[Network, ...], array(256, '["192.0.2.25"]')] = ()
    addresses: Annotated[
        tuple[Annotated[Address, _ADDRESS], ...], array(256, '["2001:db8::25"]')
    ] = ()


class Configuration(Struct, frozen=True, forbid_unknown_fields=True):
    """Everything that the operator can set.

    Attributes:
        unmatched: which accounts a notification is for that matches no account.
        listen: where the daemon listens, and which user it runs as.
        socket: the local socket, on which programs subscribe.
        protocol: how strictly the daemon reads the protocol of RFC 4146.
        sources: which sources may notify.
        limits: how much the sources may send.
        coalesce: how often subscribers are woken.
        account: the declared accounts; none: every notification is for `default`.
    """

    unmatched: Annotated[Literal["none", "all"], _UNMATCHED] = "none"
    listen: Listen = Listen()
    socket: LocalSocket = LocalSocket()
    protocol: Protocol = Protocol()
    sources: Sources = Sources()
    limits: Limits = Limits()
    coalesce: Coalesce = Coalesce()
    account: Annotated[
        tuple[AccountSettings, ...],
        array(10_000, '[[account]] with name = "work"'),
    ] = ()

    @property
    def listed(self) -> Iterator[Network]:
        """All networks from which the operator expects notifications."""
        yield from self.sources.allow
        for account in self.account:
            yield from account.sources


class Overrides(Struct, frozen=True):
    """What the command line replaces; empty or None: nothing.

    Attributes:
        listen: replaces `listen.tcp`.
        udp: replaces `listen.udp`.
        user: replaces `listen.user`.
        socket: replaces `socket.path`.
    """

    listen: tuple[str, ...] = ()
    udp: tuple[str, ...] = ()
    user: str | None = None
    socket: str | None = None


_NO_OVERRIDES = Overrides()


def parse(data: bytes, overrides: Overrides = _NO_OVERRIDES) -> Configuration:
    """Read a configuration.

    Args:
        data: the file: TOML in UTF-8, at most 1 MiB, no line over 1024 bytes.
        overrides: values from the command line. The values that they replace must be
            valid too.

    Returns:
        A valid configuration. This machine may still lack something that it names.

    Raises:
        ConfigurationError: with every problem of the file and of the command line, and
            every conflict between them.
    """
    problems = Problems()
    configuration = read(data, Configuration, problems)
    configuration = _override(configuration, overrides, problems)
    _check_endpoints(configuration.listen, overrides, problems)
    _check_accounts(configuration.account, problems)
    _check_called_addresses(configuration, overrides, problems)
    _check_combinations(configuration, problems)
    problems.raise_if_any()
    return configuration


def _override(
    configuration: Configuration, overrides: Overrides, problems: Problems
) -> Configuration:
    listen: dict[str, Any] = {}
    socket: dict[str, Any] = {}
    if overrides.listen:
        listen["tcp"] = tuple(
            convert(Endpoint, text, "--listen", problems) for text in overrides.listen
        )
    if overrides.udp:
        listen["udp"] = tuple(convert(Endpoint, text, "--udp", problems) for text in overrides.udp)
    if overrides.user is not None:
        listen["user"] = convert(Annotated[str, _USER], overrides.user, "--user", problems)
    if overrides.socket is not None:
        socket["path"] = convert(SocketPath, overrides.socket, "--socket", problems)
    return replace(
        configuration,
        listen=replace(configuration.listen, **listen),
        socket=replace(configuration.socket, **socket),
    )


def _endpoints(
    listen: Listen, overrides: Overrides, transport: Literal["tcp", "udp"]
) -> Iterator[tuple[str, Endpoint]]:
    """Yield the valid endpoints, each with the place where the operator wrote it."""
    option = "--listen" if transport == "tcp" else "--udp"
    overridden = overrides.listen if transport == "tcp" else overrides.udp
    for place, endpoint in each(listen.tcp if transport == "tcp" else listen.udp):
        yield option if overridden else f"listen.{transport}[{place}]", endpoint


def _check_endpoints(listen: Listen, overrides: Overrides, problems: Problems) -> None:
    if listen.tcp == () and listen.udp == ():
        problems.add("listen", 'no listener at all: write tcp = ["0.0.0.0:79", "[::]:79"]')
    for transport in ("tcp", "udp"):
        seen: set[Endpoint] = set()
        for path, endpoint in _endpoints(listen, overrides, transport):
            if endpoint in seen and endpoint.port:  # port 0 is a different port each time
                problems.add(path, f"{quote(str(endpoint))} is there twice: remove one")
            seen.add(endpoint)


def _check_accounts(accounts: Sequence[AccountSettings], problems: Problems) -> None:
    first: dict[str, int] = {}
    for place, account in each(accounts):
        path = f"account[{place}]"
        name = account.name
        if name is not INVALID and first.setdefault(name, place) != place:
            problems.add(
                f"{path}.name",
                f"{quote(name)} is the name of account[{first[name]}] too: choose another",
            )
        if account.sources == () and account.addresses == ():
            problems.add(
                path,
                "would match nothing: write sources or addresses, "
                'such as sources = ["0.0.0.0/0", "::/0"] for any source',
            )


def _check_combinations(configuration: Configuration, problems: Problems) -> None:
    """Refuse accounts that would take the daemon too long to start and too much memory.

    The daemon looks for a source among the networks of each called address.
    """
    combinations = sum(
        len(list(each(account.sources))) * max(1, len(list(each(account.addresses))))
        for _, account in each(configuration.account)
    )
    if combinations > MAX_COMBINATIONS:
        problems.add(
            "account",
            f"{combinations} combinations of sources and addresses, at most"
            f" {MAX_COMBINATIONS}: write larger networks, or fewer addresses for each account",
        )


def _check_called_addresses(
    configuration: Configuration, overrides: Overrides, problems: Problems
) -> None:
    """Refuse accounts by called address if a datagram socket cannot know that address.

    ip(7), udp(7): the kernel tells the destination of a datagram only in ancillary data,
    which the daemon does not read. So the socket must be bound to one address.
    """
    accounts = (account for _, account in each(configuration.account))
    if not any(list(each(account.addresses)) for account in accounts):
        return
    for path, endpoint in _endpoints(configuration.listen, overrides, "udp"):
        if endpoint.wildcard:
            problems.add(
                path,
                f"{quote(str(endpoint))} is every address, but an account has addresses, and "
                "a datagram does not tell which it was sent to: write one address, "
                'such as "192.0.2.25:79"',
            )
