"""What a machine has shown: a line for a person, and a line of JSON for the table."""

import json
import os
import re
from typing import Final

import pytest
from machines.guest import Guest

__all__ = ["facts", "note", "outcomes", "show"]

NAME: Final = os.environ.get("MAILBELL_MACHINE", "")
RESULTS: Final = os.environ.get("MAILBELL_MACHINES_RESULTS")
WORDS: Final = {"passed": "ok", "failed": "FAIL", "skipped": "-"}


def facts(guest: Guest) -> dict[str, object]:
    """Return what the first table of docs/machines.md says of a machine."""
    version = "import platform; print(platform.python_version())"
    return {
        "machine": NAME,
        "kernel": guest.run("uname -r").strip(),
        "systemd": guest.run("systemctl --version").split()[1],
        "python": guest.run(f"python3 -c '{version}'").strip(),
        "libc": guest.run("getconf GNU_LIBC_VERSION").split()[-1],
        "boot": round(guest.boot),
    }


def show(item: pytest.Item, sentence: str, report: pytest.TestReport) -> None:
    """Print and note the outcome of a claim's test.

    Args:
        item: the test.
        sentence: the claim.
        report: how the test ended.
    """
    reason = ""
    if isinstance(report.longrepr, tuple):
        reason = report.longrepr[2].removeprefix("Skipped: ")
    print(f"{WORDS[report.outcome]:<5} {NAME}: {sentence} ({report.duration:.1f} s) {reason}")
    note(
        {
            "machine": NAME, "claim": sentence, "outcome": report.outcome, "reason": reason,
            "seconds": round(report.duration, 1), "test": item.nodeid,
        }
    )  # fmt: skip


def note(row: dict[str, object]) -> None:
    """Add a line to the file of this run's results, if it has one."""
    if RESULTS:
        with open(RESULTS, "a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")


def outcomes(said: str) -> tuple[int, int]:
    """Return how many tests passed and how many were skipped, of what pytest prints at its end.

    Raises:
        AssertionError: it does not say so, or one did not pass.
    """
    last = said.rstrip().rpartition("\n")[2]
    assert re.search(r" in [\d.]+s", last), said
    found = {word: int(number) for number, word in re.findall(r"(\d+) ([a-z]+)", last)}
    assert not {"failed", "error", "errors"} & found.keys(), said
    return found.get("passed", 0), found.get("skipped", 0)
