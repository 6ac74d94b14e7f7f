"""What a run has measured, for docs/clients.md: one JSON object a line.

`.ci/run programs` names the file.
"""

import json
import os
from typing import Final

__all__ = ["record"]

_FILE: Final = os.environ.get("MAILBELL_PROGRAMS_RESULTS")


def record(preset: str, version: str, way: str, seconds: float) -> None:
    """Note how long a program took from the ring to the message in its own store.

    Args:
        preset: the name of the program's preset.
        version: what was run, such as `Debian 12, alpine 2.26`.
        way: what brought the mail, such as `IMAP` or `POP3`.
        seconds: from the ring to the message.
    """
    row = {"preset": preset, "version": version, "way": way, "seconds": round(seconds, 2)}
    if _FILE:
        # One write of less than a page: the lines of several processes do not mix.
        with open(_FILE, "a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
