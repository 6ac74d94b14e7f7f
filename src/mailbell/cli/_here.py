"""Finds on this machine a mail program, and the helper of mailbell that the program loads."""

import os
import shutil
from collections.abc import Iterator
from glob import escape, iglob
from typing import NamedTuple

from mailbell.addon.sources import CLIENTS
from mailbell.agent.preset import Preset

__all__ = ["Here", "look"]


class Here(NamedTuple):
    """What there is of a mail program on this machine.

    Attributes:
        installed: whether one of its commands is in PATH; None: it cannot be told.
        missing: programs that its preset needs and that are not in PATH.
        helper: where its helper is; None: it has none, or the helper is not in place.
        sources: the folder with what mailbell carries for it; None: nothing.
    """

    installed: bool | None
    missing: list[str]
    helper: str | None
    sources: str | None


def look(preset: Preset) -> Here:
    """Look for a mail program and its helper.

    Args:
        preset: of the program.

    Returns:
        What was found. What this user may not see is not there.
    """
    found = [shutil.which(program) is not None for program in preset.programs]
    sources = os.path.join(CLIENTS, preset.name)
    return Here(
        installed=any(found) if found else None,
        missing=[program for program in preset.needs if shutil.which(program) is None],
        helper=next((path for each in preset.helper for path in _meant(each)), None),
        sources=sources if os.path.isdir(sources) else None,
    )


def _meant(pattern: str) -> Iterator[str]:
    """Yield the paths that a pattern means and that exist, one after another."""
    home = os.path.expanduser(pattern)
    # Without a home folder the pattern stays as it is, and would mean the current folder. A home
    # folder may have any name: only the pattern's own stars stand for others.
    if not home.startswith("~"):
        tail = pattern.removeprefix("~")
        yield from iglob(escape(home.removesuffix(tail)) + tail)
