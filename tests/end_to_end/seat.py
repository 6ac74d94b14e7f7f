"""Thunderbird on a laptop, beside the agent: `mail_programs.thunderbird` as its person runs it."""

import shlex
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from end_to_end.laptop import PERSON, Laptop
from mail_programs.profile import Account
from mail_programs.thunderbird import Thunderbird, thunderbirds

__all__ = ["PACKAGES", "Account", "Thunderbird", "running_thunderbird"]

PACKAGES: Final = ("thunderbird",)
"""What a laptop has for it, beside its own packages."""

_PREFERENCES: Final = {"extensions.mailbell.gap": 1000, "extensions.mailbell.log": True}


class _Seat:
    """A laptop as a place for Thunderbird."""

    shared = Path(f"/home/{PERSON}")

    def __init__(self, laptop: Laptop) -> None:
        self._host = laptop.host

    def path(self, inside: str) -> Path:
        return self._host.path(inside)

    def run(self, *command: str, stdin: str = "", user: str | None = None) -> str:
        return self._host.run(shlex.join([*_as(user), *command]), data=stdin)

    def popen(
        self, *command: str, user: str | None = None, **options: Any
    ) -> "subprocess.Popen[bytes]":
        return self._host.popen(*_as(user), *command, **options)

    def write(self, inside: str, text: str, *, owner: str) -> None:
        self._host.write(inside, text)
        self._host.run(f"chown {owner}: {inside}")

    def ids(self, user: str) -> tuple[int, int]:
        user_id, group_id = self._host.run(f"id -u {user}; id -g {user}").split()
        return int(user_id), int(group_id)


def _as(user: str | None) -> tuple[str, ...]:
    return ("runuser", "-u", user, "--") if user else ()


@contextmanager
def running_thunderbird(laptop: Laptop, *accounts: Account) -> Iterator[Thunderbird]:
    """Install the add-on, and run Thunderbird until the end of the block.

    Args:
        laptop: with `PACKAGES`.
        accounts: of mail. Their names are those of mailbelld.
    """
    laptop.mailbell("install --thunderbird")
    with thunderbirds(
        _Seat(laptop), accounts, preferences=_PREFERENCES, host=laptop.host.namespace
    ) as thunderbird:
        thunderbird.until_state("connected")
        yield thunderbird
