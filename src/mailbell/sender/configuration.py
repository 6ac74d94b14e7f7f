"""The configuration of mailbell-sender: its keys, their defaults and their bounds.

`parse` takes bytes and returns a `Configuration`, or raises a `ConfigurationError` with
every problem of the file. This module does not check whether the machine has what the
configuration names (the users, the directories, a free port). docs/configuration.md has the
same keys as a table.
"""

from collections.abc import Iterator, Sequence
from typing import Annotated

from msgspec import Meta, Struct

from mailbell.cluster.report import NAME, NAME_FORM
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
from mailbell.core.mailbox import normalize_mailbox
from mailbell.core.networks import Network
from mailbell.core.notification import Transport
from mailbell.sender._store_url import FileUrl, StoreUrl
from mailbell.sender._values import (
    BACKOFF_FORM,
    TARGET_FORM,
    Backoff,
    Mailbox,
    OptionalFile,
    OptionalPath,
    TargetSetting,
)

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
_NODE = Meta(
    pattern=rf"\A({NAME})?\Z",
    description=f'the name of this machine in the cluster, {NAME_FORM}, or "" for the host\'s name',
)
_TRANSPORT = Meta(description='"tcp" or "udp"')
_BOOLEAN = Meta(description="true or false")
_FOLDER = Meta(
    pattern=r"\A[^\x00-\x1f\x7f]{1,255}\Z",
    description='the name of a folder, 1 to 255 characters, such as "Junk"',
)
_NETWORKS = array(256, '["192.0.2.0/24", "2001:db8::/32"]')
_TARGETS = array(16, '["last-used", "192.0.2.7", "laptop.example.net"]')


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
    backoff: Annotated[Backoff, Meta(description=BACKOFF_FORM)] = Backoff(
        Duration(30), Duration(600)
    )


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
    """What survives a restart, and what several senders share.

    Attributes:
        url: where it is kept: a file, or the engine of a cluster.
        file: in a cluster, what this machine keeps for itself.
        node: the name of this machine in the cluster; empty: the host's name.
        password_file: the file with the password for the engine; empty: it wants none.
        ca_file: the certificates that the engine's is checked with; empty: those of the system.
        ports: further TCP ports at which the engine's machines are reached.
    """

    url: StoreUrl = StoreUrl(FileUrl.default)
    file: FileUrl = FileUrl(FileUrl.default)
    node: Annotated[str, _NODE] = ""
    password_file: Annotated[OptionalFile, Meta(description=OptionalFile.form)] = OptionalFile("")
    ca_file: Annotated[OptionalFile, Meta(description=OptionalFile.form)] = OptionalFile("")
    ports: Annotated[
        tuple[Annotated[int, whole(1, 0xFFFF, 6379)], ...], array(64, "[6379, 6380]")
    ] = ()

    @property
    def key(self) -> str:
        """The key that names the file that this machine keeps."""
        return "store.url" if self.url.engine is None else "store.file"

    @property
    def path(self) -> str:
        """The path of the file that this machine keeps."""
        return self.url.path if self.url.engine is None else self.file.path


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
        tuple[Annotated[TargetSetting, Meta(description=TARGET_FORM)], ...], _TARGETS
    ] = (TargetSetting(None, None),)
    transport: Annotated[Transport | None, _TRANSPORT] = None
    enabled: Annotated[bool, _BOOLEAN] = True


class DefaultAccount(Struct, frozen=True, forbid_unknown_fields=True):
    """Every account that is not listed.

    Attributes:
        targets: what is rung for it; none: nobody.
    """

    targets: Annotated[
        tuple[Annotated[TargetSetting, Meta(description=TARGET_FORM)], ...],
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
        return self._ports_of(Transport.TCP)

    @property
    def udp_ports(self) -> frozenset[int]:
        """The UDP ports that the sender may send to; empty: no target is rung by UDP."""
        return self._ports_of(Transport.UDP)

    def _ports_of(self, transport: Transport) -> frozenset[int]:
        return frozenset(port for _, port, how in self.endpoints if how is transport)

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
    _check_store(configuration.store, problems)
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


def _check_store(store: Store, problems: Problems) -> None:
    if store.url is INVALID:
        return
    engine = store.url.engine
    needs = {
        "node": engine is not None,
        "password_file": engine is not None,
        "ca_file": engine is not None and engine.is_tls,
        "ports": engine is not None and engine.announces,
    }
    for key, has_use in needs.items():
        if getattr(store, key) and getattr(store, key) is not INVALID and not has_use:
            problems.add(f"store.{key}", f"has no use with {quote(store.url)}: remove it")


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
