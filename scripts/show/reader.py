"""NeoMutt on the laptop: what it shows of the Maildir, on a terminal of its own."""

import os
import pty
import re
import select
import subprocess
import time
from collections.abc import Collection
from typing import Final

from scripts.show.hosts import ENVIRONMENT, Host

__all__ = ["listed"]

_PATIENCE: Final = 15.0  # seconds
_TERMINAL: Final = {"TERM": "vt100", "LINES": "24", "COLUMNS": "100"}
_CODES: Final = re.compile(rb"\x1b(?:\[[0-?]*[ -/]*[@-~]|[()].|[=>])")  # of a vt100


def listed(host: Host, user: str, maildir: str, subjects: Collection[str]) -> list[str]:
    """Return which of these subjects NeoMutt shows in its list.

    Args:
        host: where it runs.
        user: who runs it.
        maildir: the mailbox.
        subjects: what to look for.
    """
    command = ("runuser", "-u", user, "--", "neomutt", "-n", "-F", "/dev/null", "-R", "-f", maildir)
    ours, theirs = pty.openpty()
    with (
        os.fdopen(ours, "rb", buffering=0) as screen,
        subprocess.Popen(  # noqa: S603 (our own words, and no shell)
            [*host.enter, *command], stdin=theirs, stdout=theirs, stderr=theirs, cwd="/",
            env={**ENVIRONMENT, "HOME": f"/home/{user}", **_TERMINAL},
        ) as process,
    ):  # fmt: skip
        os.close(theirs)
        shown, end = b"", time.monotonic() + _PATIENCE
        found: list[str] = []
        while len(found) < len(subjects) and time.monotonic() < end:
            if select.select([screen], [], [], 0.2)[0]:
                try:
                    shown += screen.read(65536)
                except OSError:  # it has ended
                    break
            text = _CODES.sub(b"", shown)
            found = [each for each in subjects if each.encode() in text]
        process.kill()
    return found
