"""What a client knows of the daemon that it calls: its name, its user, its places, its words."""

from collections.abc import Callable, Collection
from dataclasses import dataclass

from mailbell.core.errors import MailbellError
from mailbell.varlink import Interface, ServiceError

__all__ = ["Daemon"]


@dataclass(frozen=True, slots=True)
class Daemon:
    """One of mailbell's daemons, as its clients see it.

    Attributes:
        name: the name of the program.
        called: what an error calls it, as in `the daemon did not answer`.
        user: the user that it runs as, unless the caller or `user_variable` names another.
        user_variable: the variable of the environment that names another user.
        socket_variable: the variable of the environment that names the path of the socket.
        system_path: the path of the system's socket, whose daemon systemd may run.
        socket_unit: the unit of systemd that makes this socket. When it is restarted, systemd
            also restarts the service, which requires it.
        interface: what it answers.
        too_long: what to do about a call that is too long.
        explain: explains an error of the interface; None: the interface has no such error. It
            gets the accounts of a call that the daemon has accepted before; None: it has not.
        check: raises ProtocolError for a reply that a client must not keep.
    """

    name: str
    called: str
    user: str
    user_variable: str
    socket_variable: str
    system_path: str
    socket_unit: str
    interface: Interface
    too_long: str
    explain: Callable[[ServiceError, Collection[str] | None], MailbellError | None]
    check: Callable[[object], None]
