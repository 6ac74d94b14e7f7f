"""Tells other programs of new mail, through mailbell's local socket.

    from mailbell.client import Client

    with Client() as client:
        for notification in client.subscribe(["work"]):
            fetch(notification.account)

A subscription connects again when the daemon restarts. If notifications may have been
missed, the subscription gives one with the cause `resync` for each account, so that the
program looks for mail. All errors are `MailbellError`; each has an exit code and a remedy.

`mailbell.client.trio` has the same calls for Trio. This module does not import it.
"""

from mailbell.calling.channel import Timing
from mailbell.client._blocking import Client, Subscription
from mailbell.client._conversation import State
from mailbell.client._mailbelld import UnknownAccountError
from mailbell.client._path import default_path
from mailbell.core.errors import (
    DataError,
    MailbellError,
    PrivilegeError,
    TemporaryError,
    UnavailableError,
    UsageError,
)
from mailbell.core.notification import Cause, Cursor, Notification, Transport
from mailbell.interfaces.listener import Status

__all__ = [
    "Cause",
    "Client",
    "Cursor",
    "DataError",
    "MailbellError",
    "Notification",
    "PrivilegeError",
    "State",
    "Status",
    "Subscription",
    "TemporaryError",
    "Timing",
    "Transport",
    "UnavailableError",
    "UnknownAccountError",
    "UsageError",
    "default_path",
]
