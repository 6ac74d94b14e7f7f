"""The parameters of every method and of every answer, typed.

Field by field the interface text of `mailbell.varlink.interfaces`; a test
compares the two. Notifications and cursors are those of `mailbell.core.notification`, the
status is that of `mailbell.interfaces.listener`: nothing is copied from one form to another.
"""

import msgspec

from mailbell.core.notification import Cursor, Notification
from mailbell.interfaces.listener import Status

__all__ = [
    "GetInfo",
    "GetInfoReply",
    "GetInterfaceDescription",
    "GetInterfaceDescriptionReply",
    "GetStatus",
    "GetStatusReply",
    "Notify",
    "NotifyReply",
    "Subscribe",
    "SubscribeReply",
]


class GetInfo(msgspec.Struct, frozen=True):
    """org.varlink.service.GetInfo: who answers here?"""


class GetInfoReply(msgspec.Struct, frozen=True):
    """The answer to `GetInfo`.

    Attributes:
        vendor: who made it.
        product: what it is.
        version: which one.
        url: where to read about it.
        interfaces: names of the interfaces it serves.
    """

    vendor: str
    product: str
    version: str
    url: str
    interfaces: tuple[str, ...]


class GetInterfaceDescription(msgspec.Struct, frozen=True):
    """org.varlink.service.GetInterfaceDescription: what can I call?

    Attributes:
        interface: name of the interface.
    """

    interface: str


class GetInterfaceDescriptionReply(msgspec.Struct, frozen=True):
    """The answer to `GetInterfaceDescription`.

    Attributes:
        description: the interface in Varlink's definition language.
    """

    description: str


class Subscribe(msgspec.Struct, frozen=True, omit_defaults=True):
    """org.mailbell.Listener.Subscribe: tell me of notifications, from now on.

    Attributes:
        accounts: names of the accounts, each once; empty: all of them.
        after: what the caller has seen last; None: it asks for nothing missed.
    """

    accounts: tuple[str, ...] = ()
    after: Cursor | None = None


class SubscribeReply(msgspec.Struct, frozen=True):
    """One of the answers to `Subscribe`.

    Attributes:
        cursor: where the caller stands after this answer.
        notification: what it is told; None in a first answer: nothing was missed.
    """

    cursor: Cursor
    notification: Notification | None = None


class Notify(msgspec.Struct, frozen=True):
    """org.mailbell.Listener.Notify: ring by hand.

    Attributes:
        account: name of the account.
    """

    account: str


class NotifyReply(msgspec.Struct, frozen=True):
    """The answer to `Notify`.

    Attributes:
        cursor: where the account's history stands after the ringing.
    """

    cursor: Cursor


class GetStatus(msgspec.Struct, frozen=True):
    """org.mailbell.Listener.GetStatus: how are you?"""


class GetStatusReply(msgspec.Struct, frozen=True):
    """The answer to `GetStatus`.

    Attributes:
        status: counters, limits and the state of the sandbox.
    """

    status: Status
