"""Finds the account that a mail server means."""

from typing import NamedTuple

from mailbell.core.mailbox import normalize_mailbox
from mailbell.core.notification import Transport
from mailbell.core.target import Target
from mailbell.sender.configuration import Configuration, Send, TargetSetting

__all__ = ["Account", "Accounts", "LastUsed"]


class LastUsed(NamedTuple):
    """The addresses from which the account's user last looked for mail, as a target.

    Attributes:
        port: 1 to 65535.
        transport: how they are rung.
    """

    port: int
    transport: Transport


class Account(NamedTuple):
    """One account of the mail server.

    Attributes:
        name: in its normal form (`mailbell.core.mailbox`).
        targets: what is rung for it, in the order of the configuration.
        enabled: whether it is rung at all.
    """

    name: str
    targets: tuple[Target | LastUsed, ...]
    enabled: bool = True


class Accounts:
    """The listed accounts, and the default for all others.

    Args:
        configuration: its accounts, its default, and what `[send]` says for a target that
            names no port and an account that names no transport.

    Attributes:
        listed: the accounts of the configuration, in its order.
    """

    __slots__ = ("_by_name", "_default", "listed")

    def __init__(self, configuration: Configuration) -> None:
        send = configuration.send
        self._default = _targets(configuration.default.targets, None, send)
        self._by_name: dict[str, Account] = {}
        listed = []
        for settings in configuration.account:
            targets = _targets(settings.targets, settings.transport, send)
            account = Account(_key(settings.name), targets, settings.enabled)
            listed.append(account)
            for name in (settings.name, *settings.aliases):
                self._by_name[_key(name)] = account
        self.listed: tuple[Account, ...] = tuple(listed)

    def find(self, name: str) -> Account | None:
        """Find an account by its name or an alias.

        Args:
            name: as the mail server says it; any text.

        Returns:
            The account. One that is not listed has the targets of `[default]`. None: no account
            may be called so, or it is not listed and `[default]` has no targets.
        """
        key = normalize_mailbox(name)
        if key is None:
            return None
        account = self._by_name.get(key)
        if account is None and self._default:
            return Account(key, self._default)
        return account


def _key(name: str) -> str:
    # Every name of a configuration has a normal form: `Mailbox` has checked it. It is made a
    # plain text, because msgspec writes no type that is derived from one.
    return str(normalize_mailbox(name) or name)


def _targets(
    settings: tuple[TargetSetting, ...], transport: Transport | None, send: Send
) -> tuple[Target | LastUsed, ...]:
    how = transport or send.transport
    return tuple(_target(setting, how, send.port) for setting in settings)


def _target(setting: TargetSetting, transport: Transport, port: int) -> Target | LastUsed:
    if setting.host is None:
        return LastUsed(port, transport)
    return Target(setting.host, setting.port or port, transport)
