"""How the pictures of `mailbell status` and `mailbell sender status` are laid out."""

from collections.abc import Iterable, Sequence

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from mailbell.cli._common import plain_table
from mailbell.core.escape import printable
from mailbell.interfaces.sandbox import Sandbox

__all__ = [
    "counted",
    "duration",
    "landlock_version",
    "sandbox_facts",
    "sandbox_line",
    "sandbox_table",
    "section",
]

_GROUPS_SHOWN = 32


def section(title: str, body: RenderableType) -> RenderableType:
    """Lay out one part of a status.

    Args:
        title: its heading.
        body: what is below.

    Returns:
        A blank line, the heading, and the part.
    """
    return Group(Text(), Text(title, style="bold"), Padding(body, (0, 0, 0, 2)))


def duration(seconds: float) -> str:
    """Format a duration with its two largest units.

    Args:
        seconds: the duration; less than 0 counts as 0.

    Returns:
        A text such as `1 d 2 h`.
    """
    minutes, seconds = divmod(max(int(seconds), 0), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    parts = ((days, "d"), (hours, "h"), (minutes, "min"), (seconds, "s"))
    known = [f"{number} {unit}" for number, unit in parts if number]
    return " ".join(known[:2]) or "0 s"


def counted(number: int) -> Text:
    """Lay out a number. A zero is dim.

    Args:
        number: the number.

    Returns:
        The text.
    """
    return Text(str(number), style="" if number else "dim")


def sandbox_table(sandbox: Sandbox) -> Table:
    """Lay out each fact about the sandbox, with the judgement.

    Args:
        sandbox: the sandbox, from a daemon's status.

    Returns:
        A table with a row for each fact.
    """
    table = plain_table("", "", "", header=False)
    for good, name, value in sandbox_facts(sandbox):
        # A word beside the colour, for people who see no colours and for pipes.
        mark = Text("ok", style="green") if good else Text("WEAK", style="bold red")
        table.add_row(mark, name, Text(printable(value)))
    return table


def sandbox_facts(sandbox: Sandbox) -> Iterable[tuple[bool, str, str]]:
    """Judge each fact about the sandbox.

    Args:
        sandbox: the sandbox, from the daemon's status.

    Yields:
        Whether the fact is good, its name, and its value, which must still be escaped.
    """
    # The kernel may list the group itself among the others (getgroups(2)). An ordinary
    # user cannot leave its groups, so only root's group causes a warning.
    others = [group for group in sandbox.groups if group != sandbox.gid]
    groups = f"also in {_few(others)}" if others else "no other groups"
    identity = f"uid {sandbox.uid}, gid {sandbox.gid}, {groups}"
    yield bool(sandbox.uid and sandbox.gid and 0 not in others), "identity", identity
    held = _capabilities(sandbox.capabilities)
    yield held == "none", "capabilities", held
    yield sandbox.no_new_privs, "no_new_privs", "set" if sandbox.no_new_privs else "not set"
    calls = f"mode {sandbox.seccomp}, {sandbox.permitted_calls} calls permitted"
    yield sandbox.seccomp == 2, "seccomp", calls
    yield sandbox.threads == 1, "threads", str(sandbox.threads)
    uncovered = ", ".join(sandbox.landlock_uncovered)
    beyond = f"; left to seccomp: {uncovered}" if uncovered else ""
    in_force = sandbox.landlock_abi if sandbox.landlock_used is None else sandbox.landlock_used
    yield in_force >= 1, "landlock", landlock_version(sandbox) + beyond


def _few(groups: Sequence[int]) -> str:
    """Name the first groups. A user may be in 65,536 (credentials(7))."""
    more = len(groups) - _GROUPS_SHOWN
    named = ", ".join(map(str, groups[:_GROUPS_SHOWN]))
    return f"{named} and {more} more" if more > 0 else named


def landlock_version(sandbox: Sandbox) -> str:
    """Return the version of Landlock in force, and the kernel's version if it is another.

    Args:
        sandbox: the sandbox, from the daemon's status.

    Returns:
        A text such as `ABI 10` or `ABI 10, of the kernel's 11`.
    """
    used, offered = sandbox.landlock_used, sandbox.landlock_abi
    if used is None or used == offered:
        return f"ABI {offered}"
    return f"ABI {used}, of the kernel's {offered}"


def _capabilities(mask: str) -> str:
    try:
        return "none" if int(mask, 16) == 0 else mask
    except ValueError:
        return mask or "unknown"


def sandbox_line(sandbox: Sandbox) -> Text:
    """Say in one line whether the sandbox is good.

    Args:
        sandbox: the sandbox, from a daemon's status.

    Returns:
        The line. It names each fact that is not good.
    """
    facts = list(sandbox_facts(sandbox))
    weak = [f"{name} {printable(value)}" for good, name, value in facts if not good]
    if weak:
        return Text(f"sandbox WEAK: {'; '.join(weak)}", style="bold red")
    version = landlock_version(sandbox)
    locked = f"uid {sandbox.uid}, {sandbox.permitted_calls} system calls permitted"
    return Text(f"sandbox ok: {locked}, Landlock {version}", style="green")
