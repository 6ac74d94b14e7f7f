"""NeoMutt on a laptop: a person opens the Maildir and reads in tmux."""

import shlex
import subprocess
from typing import Final

from end_to_end.laptop import PERSON, Laptop
from harness.daemon import until
from mail_programs.tmux import Tmux
from packages.system import PATIENCE

__all__ = ["NeoMutt"]

_SESSION: Final = "mail"


class _Person:
    """Runs programs on a laptop as its person."""

    def __init__(self, laptop: Laptop) -> None:
        self._laptop = laptop

    def run(self, *words: str) -> "subprocess.CompletedProcess[str]":
        line = shlex.join(["runuser", "-u", PERSON, "--", "env", f"HOME=/home/{PERSON}", *words])
        done = self._laptop.host.ran(line)
        return subprocess.CompletedProcess(words, done.code, done.said)


class NeoMutt:
    """NeoMutt on the Maildir of an account; it ends with the laptop.

    Args:
        laptop: where it runs.
        account: whose mail it shows.
    """

    def __init__(self, laptop: Laptop, account: str) -> None:
        settings = f"set folder=~/Mail spoolfile=+{account}\nmailboxes +{account}\n"
        laptop.host.write(f"/home/{PERSON}/.muttrc", settings)
        person = _Person(laptop)
        started = person.run(
            "tmux", "-f", "/dev/null", "new-session", "-d", "-s", _SESSION, "-x", "80", "-y", "24",
            "neomutt", "-n", "-F", f"/home/{PERSON}/.muttrc",
        )  # fmt: skip
        assert started.returncode == 0, started.stdout
        self._tmux = Tmux(person)
        self._until("Msgs:")

    def until_listed(self, subject: str) -> None:
        """Wait until a message is in the list. No key is pressed."""
        self._until(subject)

    def read(self, subject: str, text: str) -> None:
        """Open a message, wait until a text of it is on the screen, and go back to the list."""
        for keys in (("/",), (f"~s {subject}",), ("Enter",), ("Enter",)):
            self._tmux.press(_SESSION, *keys)
        self._until(text)
        self._tmux.press(_SESSION, "q")

    def _until(self, text: str) -> None:
        until(lambda: text in self._tmux.picture(_SESSION), f"{text!r} on the screen", PATIENCE)
