"""The two services that can be installed: their names, their files and what they leave behind."""

from typing import Final, NamedTuple

__all__ = ["ALL", "LISTENER", "SENDER", "Service"]


class Service(NamedTuple):
    """A daemon as a service of the machine.

    Attributes:
        name: of the daemon, of its unit and of its profile of AppArmor.
        what: it is called so in messages.
        user: its user; the group has the same name.
        about: the comment of the user, as in `policy/sysusers.d/`.
        sockets: the units that it starts with.
        more: units that are installed and stay off.
        run: the folder of its local sockets.
        state: the folder of its state; "": none.
        configuration: its file, which a person writes.
        hook: whether mail servers execute a program that tells it.
        package: Debian's package of it.
        pages: the manual pages of what it brings.
    """

    name: str
    what: str
    user: str
    about: str
    sockets: tuple[str, ...]
    more: tuple[str, ...]
    run: str
    state: str
    configuration: str
    hook: bool
    package: str
    pages: tuple[str, ...]

    @property
    def unit(self) -> str:
        """The name of the unit that runs the daemon."""
        return f"{self.name}.service"

    @property
    def units(self) -> tuple[str, ...]:
        """All units of the daemon, in the order in which they are written."""
        return (*self.sockets, *self.more, self.unit)

    @property
    def accounts(self) -> str:
        """The name of its file in sysusers.d and in tmpfiles.d."""
        return f"{self.user}.conf"


LISTENER: Final = Service(
    name="mailbelld",
    what="the listener",
    user="mailbell",
    about="New-mail notifications",
    sockets=("mailbelld.socket", "mailbelld-local.socket"),
    more=("mailbelld-udp.socket",),
    run="/run/mailbell",
    state="",
    configuration="/etc/mailbell/mailbelld.toml",
    hook=False,
    package="mailbell",
    pages=("mailbell.1", "mailbell-agent.toml.5", "mailbelld.8", "mailbelld.toml.5"),
)
"""mailbelld"""

SENDER: Final = Service(
    name="mailbell-sender",
    what="the sender",
    user="mailbell-sender",
    about="New-mail notifications, the mail server's side",
    sockets=("mailbell-sender-hook.socket", "mailbell-sender-control.socket"),
    more=(),
    run="/run/mailbell-sender",
    state="/var/lib/mailbell-sender",
    configuration="/etc/mailbell/sender.toml",
    hook=True,
    package="mailbell-sender",
    pages=("mailbell.1", "mailbell-hook.1", "mailbell-sender.8", "sender.toml.5"),
)
"""mailbell-sender"""

ALL: Final = (LISTENER, SENDER)
