"""`mailbell sender recipe`: what to write into a mail server's configuration, for this machine."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

import click
from click.shell_completion import CompletionItem
from rich.console import Group, RenderableType
from rich.text import Text

from mailbell.cli import _recipe_machine
from mailbell.cli._common import plain_table, show
from mailbell.cli._finding import Finding, Mark
from mailbell.cli._recipe_check import Machine, State, examine
from mailbell.cli._recipe_machine import User
from mailbell.cli.check import finding_line
from mailbell.core.errors import UsageError
from mailbell.recipes import Recipe, Way, load, names
from mailbell.recipes.plain import described, order_of
from mailbell.recipes.state import Answer

__all__ = ["command"]

_NOT_IN_FORCE: Final = 69
_LACKS: Final = 78

_MOST_USERS: Final = 20  # for whom a way is looked for, if no user is named
_SHOWN: Final = 8  # of those who lack it

_WORDS: Final = {
    Answer.YES: ("in force", "bold green"),
    Answer.NO: ("not in force", "dim"),
    Answer.UNKNOWN: ("cannot be told", "yellow"),
}


def complete_server(_: click.Context, __: click.Parameter, begun: str) -> list[CompletionItem]:
    """Complete the name of a mail server.

    Args:
        begun: the part that was typed.

    Returns:
        The names that begin with it.
    """
    return [CompletionItem(name) for name in names() if name.startswith(begun)]


def complete_way(context: click.Context, _: click.Parameter, begun: str) -> list[CompletionItem]:
    """Complete the name of a way of the mail server that was typed before.

    Args:
        context: the context, with the server.
        begun: the part that was typed.

    Returns:
        The names that begin with it; none without a known server.
    """
    server = context.params.get("server")
    if server not in names():
        return []
    ways = load(server).ways
    return [CompletionItem(way.name) for way in ways if way.name.startswith(begun)]


def complete_user(_: click.Context, __: click.Parameter, begun: str) -> list[CompletionItem]:
    """Complete the name of a user of this machine.

    Args:
        begun: the part that was typed.

    Returns:
        The ordinary users whose names begin with it.
    """
    users = _recipe_machine.ordinary_users()
    return [CompletionItem(user.name) for user in users if user.name.startswith(begun)]


_EXAMPLES = """\b
Examples:
  mailbell sender recipe
  mailbell sender recipe postfix
  mailbell sender recipe postfix --way forward --user anna
  mailbell sender recipe dovecot-2.4 --check"""


_HELP = """\
Print what makes a mail server ring: lines for its configuration, on this machine.

Without SERVER it lists the servers. It finds the paths of mailbell-hook and
of the sockets, and proposes a user of this machine. It says what happens to
the mail if the hook fails or hangs, which mistakes are usual, and how to undo
it. It changes nothing.

--check looks at the machine: whether the lines are there, whether the
server's own commands show them, and whether the hook, the sockets and the
sender's configuration are as they must be. What each user must do is looked
for among the first 20 users, unless --user names one. Exit code 0: one way is in force,
with all that it needs. 69: none is in force, as far as this user can see,
also if it cannot be told.
78: one is in force, and something that it needs is missing or wrong."""


@click.command(
    help=_HELP, epilog=_EXAMPLES, short_help="Print what makes a mail server ring; --check it."
)
@click.argument("server", required=False, shell_complete=complete_server)
@click.option(
    "--way",
    "way_name",
    metavar="NAME",
    shell_complete=complete_way,
    help="Another mechanism than the first one; with --check, this one only.",
)
@click.option(
    "--user",
    "user_name",
    metavar="NAME",
    shell_complete=complete_user,
    help="A user who gets mail  [default: an ordinary user of this machine]",
)
@click.option("--check", "checks", is_flag=True, help="Tell whether it is in force here.")
def command(
    server: str | None, way_name: str | None, user_name: str | None, checks: bool
) -> int | None:
    """Print what makes a mail server ring: lines for its configuration, on this machine."""
    if server is None:
        if way_name is not None or user_name is not None or checks:
            raise UsageError("no server is named", "run: mailbell sender recipe")
        show(_table([load(name) for name in names()]))
        return None
    recipe = load(server)
    way = recipe.way(way_name) if way_name is not None else recipe.ways[0]
    user = _recipe_machine.user(user_name, os.environ)
    configuration, lack = _recipe_machine.sender_configuration()
    machine = Machine(_recipe_machine.facts_of(configuration, user), configuration, lack)
    if not checks:
        click.echo(described(recipe, way, machine.facts), nl=False)
        return None
    ways = recipe.ways if way_name is None else (way,)
    users = [] if user_name is not None else _recipe_machine.ordinary_users()
    return _check(recipe, ways, machine, users)


def _table(recipes: Sequence[Recipe]) -> RenderableType:
    table = plain_table("server", "ways", "tried with")
    for recipe in recipes:
        ways = ", ".join(way.name for way in recipe.ways)
        table.add_row(Text(recipe.name, style="bold"), ways, recipe.verified)
    more = "'mailbell sender recipe SERVER' prints the first way for this machine"
    return Group(table, Text(), Text(more))


# --- --check ------------------------------------------------------------------------


def _check(recipe: Recipe, ways: Sequence[Way], machine: Machine, users: Sequence[User]) -> int:
    show(Text(f"{recipe.title} on this machine", style="bold"))
    states = []
    for way in ways:
        if not way.step:
            show(_silent(way))
            continue
        seen = _examined(way, machine, users)
        states.append(seen.state)
        for line in _lines(way, seen, whole=len(ways) == 1):
            show(line, soft_wrap=True)
    if any(state.whole for state in states):
        return 0
    found = any(state.answer is Answer.YES for state in states)
    return _LACKS if found else _NOT_IN_FORCE


@dataclass(frozen=True, slots=True)
class _Seen:
    """What was found of a way: for one user, and how many others have it."""

    user: str
    state: State
    others: Finding | None = None


def _examined(way: Way, machine: Machine, users: Sequence[User]) -> _Seen:
    """Look for a way; if it is done for each user, among the first users of the machine."""
    if not way.for_each_user or len(users) < 2:
        return _Seen(machine.facts.user, examine(way, machine))
    states = {}
    for user in users[:_MOST_USERS]:
        facts = replace(machine.facts, user=user.name, home=user.home)
        states[user.name] = examine(way, replace(machine, facts=facts))
    having = [name for name, state in states.items() if state.answer is Answer.YES]
    lacking = [name for name in states if name not in having]
    whole = [name for name in having if states[name].whole]
    best = next(iter((*whole, *having, *states)))
    if not having:
        return _Seen(best, states[best])
    what = f"in force for {len(having)} of the first {len(states)} users of this machine"
    if not lacking:
        return _Seen(best, states[best], Finding(Mark.OK, what))
    few = ", ".join(lacking[:_SHOWN]) + (", ..." if len(lacking) > _SHOWN else "")
    return _Seen(best, states[best], Finding(Mark.WARN, f"{what}; not for {few}"))


def _silent(way: Way) -> Text:
    return Text(f"\n{way.name}: there is nothing to look for: it is described only")


def _lines(way: Way, seen: _Seen, *, whole: bool) -> Iterator[Text]:
    state = seen.state
    words, style = _WORDS[state.answer]
    user = f", for the user {seen.user}" if way.for_each_user else ""
    head = Text(f"\n{way.name}: ")
    head.append(words, style=style)
    head.append(f"{user}  (tells {order_of(way)})")
    yield head
    steps = state.steps
    if state.answer is Answer.NO and not whole:
        # Of a way that nobody uses, one reason is enough.
        steps = tuple(finding for finding in steps if finding.mark is Mark.FAIL)[:1]
    for finding in (*steps, *state.more, *((seen.others,) if seen.others else ())):
        yield finding_line(finding)
