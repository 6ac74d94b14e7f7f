"""How a mailbell-sender is configured for one piece of work, and what models it follows."""

import os
import pwd
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random
from typing import Final

from harness.ringer import settings

from mailbell.sender.configuration import parse
from torture.inputs.hook_lines import Words, make_comsat, make_cyrus, make_hook
from torture.inputs.sender_model import ByParts
from torture.inputs.sender_words import ByWords

__all__ = ["Models", "Plan"]

_DENIED: Final = "198.51.100.0/24"
_QUIET: Final = (("Junk", "Spam", "Trash", "Drafts", "Sent"), ("Lists/trio", "JUNK"))
_LISTED: Final = {
    "anna": True, "ann@example.org": True, "bert@example.org": True, "off": False, "ünal": True,
}  # fmt: skip
_NAMES: Final = ("anna", "ann@EXAMPLE.org", "bert@example.org", "off", "ünal", "Anna", "x@y@Z")


@dataclass(frozen=True, slots=True)
class Plan:
    """What a mailbell-sender is configured to do.

    Attributes:
        is_trusted: whether the user who speaks may speak for every account.
        has_default: whether accounts that are not listed have a target.
        quiet: folders whose mail rings nobody.
    """

    is_trusted: bool = True
    has_default: bool = False
    quiet: tuple[str, ...] = _QUIET[0]

    @classmethod
    def draw(cls, rng: Random) -> "Plan":
        """Return a plan.

        Args:
            rng: decides.
        """
        return cls(rng.random() < 0.85, rng.random() < 0.5, rng.choice(_QUIET))

    def toml(self, directory: Path) -> str:
        """Return the configuration.

        Args:
            directory: of the sockets and the address book.
        """
        me = pwd.getpwuid(os.geteuid()).pw_name
        trusted = me if self.is_trusted else "daemon"
        default = '[default]\ntargets = ["last-used"]' if self.has_default else ""
        text = settings(
            directory,
            f"""
[quiet]
folders = [{", ".join(f'"{name}"' for name in self.quiet)}]
[last_used]
deny = ["{_DENIED}"]
{default}
[[account]]
name = "anna"
aliases = ["ann@Example.ORG"]
targets = ["127.0.0.1"]
[[account]]
name = "bert@EXAMPLE.org"
[[account]]
name = "off"
enabled = false
[[account]]
name = "ünal"
[[account]]
name = "{me}"
""",
            listen=f"""trusted = ["{trusted}"]
comsat = ["127.0.0.1:0", "[::1]:0"]
cyrus = "{directory}/cyrus"
""",
            port=1,  # no program listens there, and an account whose target refuses costs little
        )
        # Each account rings once. This is about what is read and not about what is rung.
        return text.replace('"10ms"', '"1h"')


class Models:
    """The models of a mailbell-sender, and what is said to it.

    Args:
        plan: what it is configured to do.
        directory: of its files.

    Attributes:
        parts: the model of its pure parts.
        words: the model of the documents.
        make_hook: makes a connection to the socket of the hooks.
        make_comsat: makes a biff datagram.
        make_cyrus: makes a datagram of Cyrus.
    """

    def __init__(self, plan: Plan, directory: Path) -> None:
        me = pwd.getpwuid(os.geteuid()).pw_name
        configuration = parse(plan.toml(directory).encode())
        self.parts = ByParts(configuration, uid=os.geteuid(), name=me, is_trusted=plan.is_trusted)
        self.words = ByWords(
            accounts={**_LISTED, me: True},
            names_of_own={me},
            is_trusted=plan.is_trusted,
            has_default=plan.has_default,
            quiet=plan.quiet,
            deny=(_DENIED,),
        )
        # A login by a stranger to the own account meets a limit of its own, on new addresses.
        says = Words(_NAMES, me if plan.is_trusted else "")
        own = Words(_NAMES, me)
        # A stranger is closed at the first refusal.
        self.make_hook = partial(make_hook, says, 20 if plan.is_trusted else 3)
        self.make_comsat = partial(make_comsat, own)
        self.make_cyrus = partial(make_cyrus, own)
