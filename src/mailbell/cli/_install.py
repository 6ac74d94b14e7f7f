"""`mailbell run --install-unit`: shows the unit, asks, writes the unit and starts it."""

import difflib
import os
import shutil
import sys
from collections.abc import Sequence
from typing import Final

import click

from mailbell.agent.folders import configuration_folder
from mailbell.cli._common import absolute
from mailbell.core.errors import ConfigurationError, UsageError
from mailbell.core.escape import printable

__all__ = ["install_unit"]

_PROGRAM: Final = "mailbell"


def install_unit(line: Sequence[str], socket_path: str | None, *, sure: bool) -> None:
    """Install the agent as a service of the person.

    Args:
        line: the words of `mailbell run`, which mean the same in every folder.
        socket_path: the path of the daemon's socket; None: the usual places.
        sure: whether to install without asking.

    Raises:
        MailbellError: the person did not agree, or the installation failed. The message
            has a remedy.
    """
    from mailbell.agent import unit as user_unit

    where = os.path.join(configuration_folder(os.environ), "systemd", "user", user_unit.NAME)
    unit = user_unit.text([_program(), "run", *_socket(socket_path), *line], _search(), _user())
    user_unit.require_safe_way(where)
    before = user_unit.present(where)
    _show(unit, before, where)
    if not sure:
        _ask(where, replaces=before not in {None, unit.encode()})
    user_unit.write(where, unit, instead=before)
    user_unit.enable(restart=before is not None)
    click.echo(
        f"{user_unit.NAME} runs now, and starts at each login.\n"
        f"Its log:      journalctl --user -u {user_unit.NAME}\n"
        f"Its state:    systemctl --user status {user_unit.NAME}\n"
        "To run it also while you are logged out:   loginctl enable-linger\n"
        "If that is denied, root may do it:         loginctl enable-linger NAME"
    )


def _program() -> str:
    """Find the absolute path of this program, which the unit needs."""
    beside = os.path.join(os.path.dirname(sys.executable), _PROGRAM)
    called = sys.argv[0] if os.path.basename(sys.argv[0]) == _PROGRAM else beside
    for candidate in (called, beside, _PROGRAM):
        if found := shutil.which(candidate):
            return absolute(found)
    raise ConfigurationError(f"cannot tell where {_PROGRAM} is installed", "put it into PATH")


def _socket(path: str | None) -> list[str]:
    # The service manager does not have this variable.
    told = path or os.environ.get("MAILBELL_SOCKET")
    return [f"--socket={absolute(told)}"] if told else []


def _user() -> str:
    return os.environ.get("MAILBELL_DAEMON_USER", "")


def _search() -> str:
    # A service has another current folder. A relative folder of PATH would be another one
    # there, which other users may be able to write.
    folders = os.environ.get("PATH", os.defpath).split(":")
    return ":".join(folder for folder in folders if folder.startswith("/"))


def _show(unit: str, before: bytes | None, where: str) -> None:
    if before in {None, unit.encode()}:
        click.echo(unit)
        return
    old = (before or b"").decode(errors="replace").splitlines()
    for line in difflib.unified_diff(
        old, unit.splitlines(), where, where, "now", "then", lineterm=""
    ):
        click.echo(printable(line))


def _ask(where: str, *, replaces: bool) -> None:
    what = "Replace" if replaces else "Write"
    try:
        agreed = click.confirm(f"{what} {printable(where)}, and start it?")
    except click.Abort:  # there is no person to ask
        agreed = False
    if not agreed:
        raise UsageError("nothing was written", "answer yes, or give --yes")
