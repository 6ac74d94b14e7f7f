"""`mailbell check`: tells whether the daemon would start here, and what to do if not."""

import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

import click
from rich.text import Text

from mailbell._sys.trusted_path import find_weaknesses
from mailbell.cli import _file
from mailbell.cli._common import show
from mailbell.cli._finding import Finding, Mark
from mailbell.cli._machine import findings
from mailbell.core.errors import ConfigurationError, MailbellError
from mailbell.core.escape import printable
from mailbell.listener.configuration import Overrides

__all__ = ["Checked", "command", "finding_line", "run_check"]

_STYLES = {Mark.OK: "green", Mark.WARN: "yellow", Mark.FAIL: "bold red"}


_Configuration = TypeVar("_Configuration")


@dataclass(frozen=True, slots=True)
class Checked(Generic[_Configuration]):
    """What is checked of a daemon.

    Attributes:
        default: the file of the configuration, if no other one is named.
        load: reads and validates the file that is named, or else the default.
        findings: examines the machine for a valid configuration.
    """

    default: str
    load: Callable[[str | None], _Configuration]
    findings: Callable[[_Configuration], Iterator[Finding]]


def run_check(checked: Checked[_Configuration], path: str | None) -> int:
    """Print every finding about a daemon.

    Args:
        checked: what is checked.
        path: the file of the configuration; None: the default.

    Returns:
        The exit code of the daemon if it were started now; 0: it would start.
    """
    found = []
    for finding in _examine(checked, path):
        found.append(finding)
        show(finding_line(finding), soft_wrap=True)
    return _exit_code(found)


def _examine(checked: Checked[_Configuration], path: str | None) -> Iterator[Finding]:
    try:
        configuration = checked.load(path)
    except MailbellError as error:
        yield from _bad_configuration(error)
        return
    yield _source(path, checked.default)
    yield from _permissions(path or checked.default)
    yield from checked.findings(configuration)


def _bad_configuration(error: MailbellError) -> Iterator[Finding]:
    if isinstance(error, ConfigurationError):
        for problem in error.problems:
            yield Finding(Mark.FAIL, str(problem), "", error.exit_code)
    yield Finding(Mark.FAIL, error.what, error.remedy, error.exit_code)


def _source(path: str | None, default: str) -> Finding:
    # The file is not read again, because it may be a pipe.
    if path is None and not os.path.exists(default):
        return Finding(Mark.OK, f"no {default}: the built-in defaults")
    return Finding(Mark.OK, f"{path or default} is valid")


def _permissions(name: str) -> Iterator[Finding]:
    try:
        mode = os.stat(name).st_mode
        weaknesses = find_weaknesses(name)
    except OSError:  # there is no file (the built-in defaults), or it was removed meanwhile
        return
    if mode & stat.S_IWOTH:
        what = f"anyone may write {name}, and choose the user that the daemon becomes"
        yield Finding(Mark.WARN, what, f"chmod o-w {name}")
    for weakness in weaknesses:
        yield Finding(Mark.WARN, f"{weakness}, who could replace {name}", weakness.remedy)


def _exit_code(found: list[Finding]) -> int:
    failed = [finding.exit_code for finding in found if finding.exit_code]
    # A mistake in the configuration comes first: the other findings depend on it.
    return 78 if 78 in failed else next(iter(failed), 0)


def finding_line(finding: Finding) -> Text:
    """Lay out a finding.

    Args:
        finding: the finding; it is escaped here.

    Returns:
        Its mark and what was found, and on a line of its own what to do.
    """
    text = Text(f"{finding.mark:<5}", style=_STYLES[finding.mark])
    text.append(printable(finding.what), style="default not bold")
    if finding.remedy:
        text.append(f"\n      -> {printable(finding.remedy)}", style="default not bold")
    return text


_EXAMPLES = """\b
Examples:
  mailbell check
  mailbell check --config ./new.toml
  mailbell check && systemctl restart mailbelld"""


_HELP = """\
Check the configuration and this machine. Each problem has a remedy.

It checks mailbelld's systemd units and AppArmor profile, if there are any; the
ports (free, or held by which process); the kernel's Landlock and seccomp;
libseccomp; resource limits; user and group; and the place of the local socket.
Run it as the user who starts the daemon, or as anyone if systemd does. Exit
code 0: the daemon would start, or is running and could start again. Otherwise
it is the daemon's own exit code."""


@click.command(help=_HELP, epilog=_EXAMPLES, short_help="Tell whether the daemon would start here.")
@click.option(
    "--config",
    "path",
    metavar="FILE",
    type=click.Path(),
    help=f"The configuration  [default: {_file.DEFAULT_PATH}, if it exists]",
)
def command(path: str | None) -> int:
    """Check the configuration and this machine. Each problem has a remedy."""
    return run_check(
        Checked(_file.DEFAULT_PATH, lambda name: _file.load(name, Overrides()), findings), path
    )
