"""What a run has measured, for docs/servers: one JSON object a line.

`.ci/run servers` names the file. scripts/server_pages.py makes the table from it.
"""

import json
import os
from typing import Final

__all__ = ["record"]

_FILE: Final = os.environ.get("MAILBELL_SERVERS_RESULTS")


def record(server: str, version: str, way: str, **figures: float | str) -> None:
    """Note what was measured of a mechanism of a server."""
    row = {"server": server, "version": version, "way": way, **figures}
    if _FILE:
        # One write of less than a page: the lines of several processes do not mix.
        with open(_FILE, "a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
