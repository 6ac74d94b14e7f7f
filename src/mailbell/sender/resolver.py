"""Finds the addresses of names for the sender, in a process of its own that is locked in.

The sender itself never speaks to a name server. Only the answers of this process reach it.
"""

from typing import Final

from mailbell._sys.credentials import Identity
from mailbell.sender._companion import Companion

__all__ = ["PROGRAM", "start"]

PROGRAM: Final = "mailbell-resolver"


def start(identity: Identity | None) -> Companion:
    """Start the resolver. Call it before the event loop and before the lock.

    Args:
        identity: the user of the sender; None: this process has no privilege to change its user.

    Returns:
        The companion, for `ResolverClient`.

    Raises:
        MailbellError: it could not start.
    """
    raise NotImplementedError(identity)
