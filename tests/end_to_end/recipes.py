"""The recipes of mailbell, followed on a host as `mailbell sender recipe` prints them."""

import shlex
from typing import Final

from packages.environments import put_environment
from packages.system import System

from mailbell.recipes import Facts, FileStep, load

__all__ = ["PROGRAMS", "follow", "install_sender"]

PROGRAMS: Final = "/opt/mailbell/bin"
"""Where mailbell's programs are on every host."""


def install_sender(system: System, toml: str) -> None:
    """Install mailbell-sender as a reader does with pip, and start it.

    Args:
        system: a Debian 13 with python3.
        toml: its configuration.
    """
    put_environment(system)
    system.write("/etc/mailbell/sender.toml", toml)
    system.run(f"{PROGRAMS}/mailbell install --sender")


def follow(system: System, recipe: str, way: str, user: str) -> None:
    """Do what a way of a recipe says. What is there already is left alone.

    Args:
        system: the mail server, with mailbell.
        recipe: the name, as `dovecot-2.4`.
        way: of the recipe.
        user: who gets mail. A file in the home folder belongs to this user.
    """
    facts = Facts(
        hook=f"{PROGRAMS}/mailbell-hook",
        files="/opt/mailbell/share/mailbell/servers",
        user=user,
        home=f"/home/{user}",
    )
    for step in load(recipe).way(way).steps(facts):
        if isinstance(step, FileStep):
            _put(system, step, user, facts.home)
        else:
            system.run(shlex.join(step.command))


def _put(system: System, step: FileStep, user: str, home: str) -> None:
    path = system.path(step.path)
    present = path.exists()
    after = step.applied(path.read_text() if present else "")
    mode = step.mode or (path.stat().st_mode & 0o777 if present else 0o644)
    system.write(step.path, after, mode)
    if owner := step.owner or (user if step.path.startswith(f"{home}/") else ""):
        system.run(f"chown {owner}: {step.path}")
