"""Types what docs/install.md shows, word by word, and compares what is printed; takes the time.

Each command is a line of this run's results, if MAILBELL_PACKAGES_RESULTS names a file:
`python scripts/install_page.py --results FILE` puts them into docs/install.md.
"""

import json
import os
import re
import time
from dataclasses import dataclass
from typing import Final

import pytest
from documents.blocks import Step, is_printed
from packages.offers import ENVIRONMENT
from packages.page import blocks
from packages.system import System

__all__ = ["Walk", "note", "notifications"]

_RESULTS: Final = os.environ.get("MAILBELL_PACKAGES_RESULTS")
_APT: Final = "apt-get "
# apt-get(8). If some packages are files of this machine, it names both sums.
_FETCHES: Final = re.compile(r"^(?:Need to get |  Download size: )([\d,.]+) ([kM])B", re.MULTILINE)


@dataclass(frozen=True)
class Walk:
    """Root and a person, who do what the page says.

    Attributes:
        system: the system where they type.
        suite: its Debian.
        person: who types what begins with `$ ` on the page.
        folder: where root types.
    """

    system: System
    suite: str
    person: str = "anna"
    folder: str = "/root"

    def fetch(self, name: str) -> None:
        """Type those lines of the blocks of a name that fetch packages of Debian."""
        for step in self._steps(name):
            if step.command.startswith(_APT):
                self._take(name, step, 0)

    def follow(self, name: str, *, code: int = 0) -> None:
        """Type the lines of all blocks of a name.

        Args:
            name: of the blocks.
            code: with which the last command ends. The others end with 0.
        """
        *steps, last = self._steps(name)
        for step in steps:
            self._take(name, step, 0)
        self._take(name, last, code)

    def _steps(self, name: str) -> list[Step]:
        return [step for block in blocks(name, self.suite) for step in block.steps]

    def _take(self, name: str, step: Step, code: int) -> None:
        # Only the mirror of Debian is outside; what an index would offer is in a folder.
        network = "host" if step.command.startswith(_APT) else "own"
        command = f"cd {self.folder}; {step.command}" if step.root else step.command
        user = "root" if step.root else self.person
        begun = time.monotonic()
        done = self.system.ran(command, user=user, env=ENVIRONMENT, network=network)
        seconds = time.monotonic() - begun
        where = f"{name} on {self.suite}: {step.command}"
        print(f"{seconds:5.1f} s  {where}", flush=True)
        if done.code != code or not is_printed(step.printed, done.said):
            shown = "\n".join(step.printed)
            pytest.fail(f"{where}: code {done.code}\n{done.said}\nthe page shows:\n{shown}")
        note(name, step.command, seconds, fetched=_fetched(done.said))


def notifications(system: System, version: str, user: str = "root") -> int:
    """Return how many notifications mailbelld of a system has had, as it says to a user.

    Args:
        system: the system.
        version: that mailbelld must be of.
        user: who asks.
    """
    said = json.loads(system.run("mailbell status --json", user=user))
    assert said["version"] == version
    return sum(account["count"] for account in said["accounts"])


def _fetched(said: str) -> float:
    """Return how many megabytes apt has fetched."""
    found = _FETCHES.search(said)
    if found is None:
        return 0.0
    return float(found[1].replace(",", "")) / (1000 if found[2] == "k" else 1)


def note(
    name: str, command: str, seconds: float, *, fetched: float = 0.0, end: bool = False
) -> None:
    """Add a line to this run's results, if it has a file for them.

    Args:
        name: of the block.
        command: the command, or what has come of the block.
        seconds: how long it took.
        fetched: megabytes from Debian's mirror.
        end: whether this is what has come of the block, and `seconds` is the time of all.
    """
    row = {
        "name": name, "command": command, "seconds": round(seconds, 1),
        "fetched": round(fetched, 1), "cores": os.cpu_count(), "end": end,
    }  # fmt: skip
    if _RESULTS:
        with open(_RESULTS, "a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
