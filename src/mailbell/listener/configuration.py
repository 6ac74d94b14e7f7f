"""The configuration of the listener: what may be set, its defaults and its bounds.

`parse` takes bytes and gives a `Configuration`, or a `ConfigurationError`
with every problem in it. Whether the machine has what the configuration
names (the user, the directory, a free port) is not decided here.
docs/configuration.md is the same as a table.
"""

from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Literal

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


# `\Z`, since `$` also matches before a trailing newline.
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
_ADDRESS = Meta(description=ADDRESS_FORM)
_RATE = between(Rate, "1/h", "1000000/s", "1/s")


# Every address of each family that this machine has. Some machines have no IPv6.
_EVERYWHERE = (Endpoint.parse("0.0.0.0:79"), Endpoint.parse("[::]:79"))


class Listen(Struct, frozen=True, forbid_unknown_fields=True):
    """Where to listen, and as whom.

    Attributes:
        tcp: endpoints of the stream listener.
        udp: endpoints of the datagram listener. Off by default: a UDP source
            can be forged.
        user: whom to become after binding, when started as root.
        freebind: whether an address may be bound that this machine gets later.
    """

    tcp: Annotated[tuple[Endpoint, ...], _ENDPOINTS] = _EVERYWHERE
    udp: Annotated[tuple[Endpoint, ...], _ENDPOINTS] = ()
    user: Annotated[str, _USER] = "mailbell"
    freebind: Annotated[bool, _BOOLEAN] = False

    @property
    def is_default(self) -> bool:
        """Whether nobody wrote `tcp`, neither in the file nor on the command line.

        A file that has the same words as the default is a different matter: the operator
        wants both families, and must be told when one is missing.
        """
        return self.tcp is _EVERYWHERE


class LocalSocket(Struct, frozen=True, forbid_unknown_fields=True):
    """The socket that local programs subscribe on.

    Attributes:
        path: where it is.
        group: who may connect besides the owner; empty for the daemon's own group.
        mode: permission bits.
        subscribers: how many may be connected at once.
    """

    path: SocketPath = SocketPath("/run/mailbell/mailbell.sock")
    group: Annotated[str, _GROUP] = "mailbell"
    mode: Mode = Mode(0o660)
    subscribers: Annotated[int, whole(1, 1024, 64)] = 64


class Protocol(Struct, frozen=True, forbid_unknown_fields=True):
    """How strictly RFC 4146 is taken.

    Attributes:
        terminators: what may end the line.
        deadline: for the whole exchange, in seconds.
    """

    terminators: Annotated[
        frozenset[Annotated[Terminator, _TERMINATOR]], array(3, '["crlf"]', least=1)
    ] = frozenset({Terminator.CRLF})
    deadline: Annotated[Duration, between(Duration, "100ms", "1m", "5s")] = Duration(5)


class Sources(Struct, frozen=True, forbid_unknown_fields=True):
    """Who may ring.

    Attributes:
        allow: these networks and nobody else; empty: anyone.
        deny: never these, even when allowed.
    """

    allow: Annotated[tuple[Network, ...], _NETWORKS] = ()
    deny: Annotated[tuple[Network, ...], _NETWORKS] = ()


class Limits(Struct, frozen=True, forbid_unknown_fields=True):
    """How much one source, and all of them together, may ask for.

    Attributes:
        rate: notifications per second of one source.
        burst: how many it may send at once before the rate counts.
        connections: at once, all together.
        connections_per_source: at once, of one source.
        sources: how many sources each table remembers.
        total_rate: notifications per second of all sources together.
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
        interval: at most one wake-up per account in this time, in seconds.
    """

    interval: Annotated[Duration, between(Duration, "10ms", "1h", "1s")] = Duration(1)


class AccountSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """One account, and how to tell that a notification is for it.

    Attributes:
        name: as subscribers know it.
        sources: networks its mail server calls from; empty: any.
        addresses: addresses of this machine that belong to it; empty: any
            that belongs to no other account.
    """

    name: Annotated[str, ACCOUNT_NAME]
    sources: Annotated[tuple[Network, ...], array(256, '["192.0.2.25"]')] = ()
    addresses: Annotated[
        tuple[Annotated[Address, _ADDRESS], ...], array(256, '["2001:db8::25"]')
    ] = ()


class Configuration(Struct, frozen=True, forbid_unknown_fields=True):
    """Everything that can be set.

    Attributes:
        unmatched: whom a notification rings that matches no account.
        listen: where to listen, and as whom.
        socket: the socket that local programs subscribe on.
        protocol: how strictly RFC 4146 is taken.
        sources: who may ring.
        limits: how much of it.
        coalesce: how often subscribers are woken.
        account: the declared accounts; none: everything is for `default`.
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


class Overrides(Struct, frozen=True):
    """What the command line says instead; empty or None: nothing.

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
        overrides: from the command line; what they replace must be readable too.

    Returns:
        A valid configuration; not yet held against this machine.

    Raises:
        ConfigurationError: with every problem in the file, on the command
            line, and between the two.
    """
    problems = Problems()
    configuration = read(data, Configuration, problems)
    configuration = _override(configuration, overrides, problems)
    _check_endpoints(configuration.listen, overrides, problems)
    _check_accounts(configuration.account, problems)
    _check_called_addresses(configuration, overrides, problems)
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
    """Yield the endpoints that could be read, each with the path it has for the person."""
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
            if endpoint in seen and endpoint.port:  # port 0: another one every time
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


def _check_called_addresses(
    configuration: Configuration, overrides: Overrides, problems: Problems
) -> None:
    """Refuse accounts by called address where the called address cannot be known.

    ip(7), udp(7): a datagram tells its destination only through ancillary
    data; without it, only a socket bound to one address knows which it was.
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
