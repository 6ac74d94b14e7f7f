"""What a run has measured, for docs/clients.md: one JSON object a line.

`.ci/run programs` names the file. `python scripts/client_table.py --results FILE` puts it into
docs/clients.json, and makes the table of docs/clients.md from that.
"""

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from mail_programs.support import PRESETS

__all__ = ["record", "recorded"]

_FILE: Final = os.environ.get("MAILBELL_PROGRAMS_RESULTS")


def record(preset: str, version: str, way: str, seconds: float | None) -> None:
    """Note how long a program took from the ring to the message in its own store.

    Args:
        preset: the name of the program's preset.
        version: what was run, such as `Debian 12, alpine 2.26`.
        way: what brought the mail, such as `IMAP` or `POP3`.
        seconds: from the ring to the message; None: the test cannot tell.
    """
    row = {
        "preset": preset,
        "version": version,
        "way": way,
        "seconds": None if seconds is None else round(seconds, 2),
        "test": os.environ["PYTEST_CURRENT_TEST"].rpartition(" (")[0],
    }
    if _FILE:
        # One write of less than a page: the lines of several processes do not mix.
        with open(_FILE, "a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")


@contextmanager
def recorded(preset: str, way: str) -> Iterator[None]:
    """Note how long the block takes. It rings first, and ends when the message is there.

    Args:
        preset: the name of the program's preset. What it was verified with is what is installed
            here: test_documented.py compares them.
        way: what brings the mail.
    """
    begun = time.monotonic()
    yield
    record(preset, PRESETS[preset].verified, way, time.monotonic() - begun)
