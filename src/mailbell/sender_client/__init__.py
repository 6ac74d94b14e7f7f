"""Lets a mail server, or any program, ring through mailbell-sender, and see what came of it.

    from mailbell.sender_client import Client

    client = Client()
    client.ring("anna@example.org")                  # mail was delivered
    client.seen("anna@example.org", "192.0.2.7")     # she looked for mail from there

    with client.watch() as watching:
        for ring in watching:
            print(ring.account, ring.target, ring.outcome)

Each call waits for the sender's answer, and never for a target. All errors are
`MailbellError`; each has an exit code and a remedy.

`mailbell.sender_client.trio` has the same calls for Trio. This module does not import it.
"""

from mailbell.calling.channel import Timing
from mailbell.core.errors import (
    DataError,
    MailbellError,
    PrivilegeError,
    TemporaryError,
    UnavailableError,
    UsageError,
)
from mailbell.core.sender_outcome import InputOutcome, RingOutcome
from mailbell.interfaces.sender import ExplainReply, Origin, RingResult, Step, Verdict
from mailbell.interfaces.sender_status import Status
from mailbell.sender_client._blocking import Client, Watching
from mailbell.sender_client._place import default_path

__all__ = [
    "Client",
    "DataError",
    "ExplainReply",
    "InputOutcome",
    "MailbellError",
    "Origin",
    "PrivilegeError",
    "RingOutcome",
    "RingResult",
    "Status",
    "Step",
    "TemporaryError",
    "Timing",
    "UnavailableError",
    "UsageError",
    "Verdict",
    "Watching",
    "default_path",
]
