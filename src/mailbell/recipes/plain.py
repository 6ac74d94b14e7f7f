"""A recipe as text for a terminal, with the facts of a machine."""

import re
import shlex
import textwrap
from collections.abc import Iterator
from typing import Final

from mailbell.recipes.facts import Facts, filled
from mailbell.recipes.recipe import Recipe, Way
from mailbell.recipes.steps import CommandStep, FileStep

__all__ = [
    "NOTE_FIRST",
    "WIDTH",
    "described",
    "order_of",
    "paragraphs",
    "shown_as_is",
    "trusted_line",
    "undone",
]

WIDTH: Final = 80
NOTE_FIRST: Final = "This replaces what the first command shows. Note that, to put it back."
_WHEN: Final = {
    "": "of new mail",
    "after": "of new mail, after it is in the mailbox",
    "before": "of new mail, BEFORE it is in the mailbox",
    "race": "of new mail, in a race with the mailbox",
}


def order_of(way: Way) -> str:
    """Say what a way tells of, and when.

    Args:
        way: the mechanism.
    """
    if way.tells == "logins":
        return "of logins"
    return _WHEN[way.order] + (", and of logins" if way.tells == "both" else "")


def trusted_line(way: Way) -> str:
    """Return what /etc/mailbell/sender.toml must have below `[listen]` for a way.

    Args:
        way: the mechanism.

    Returns:
        A line of TOML; "" if the mail's owner speaks.
    """
    names = ", ".join(f'"{name}"' for name in way.trusted)
    return f"trusted = [{names}]" if names else ""


def paragraphs(text: str) -> Iterator[list[str]]:
    """Split the text of a way at its blank lines.

    Args:
        text: the text.

    Yields:
        The lines of each paragraph.
    """
    for part in re.split(r"\n\s*\n", text.strip("\n")):
        if part:
            yield part.split("\n")


def shown_as_is(lines: list[str]) -> bool:
    """Tell whether a paragraph is shown line by line: it is indented, as in Markdown.

    Args:
        lines: its lines.
    """
    return all(line.startswith("    ") for line in lines)


def undone(step: FileStep | CommandStep) -> Iterator[str]:
    """Say how a step is taken back.

    Args:
        step: the step.

    Yields:
        Sentences and command lines; none if nothing is to do.
    """
    if step.undo:
        yield shlex.join(step.undo)
    if isinstance(step, CommandStep) and step.replaces:
        yield f"put back what this showed before: {shlex.join(step.replaces)}"
    if isinstance(step, FileStep):
        if step.lines:
            yield f"take the lines out of {step.path}; remove it if nothing is left"
        if step.without:
            yield f"put the other lines of {step.path} back"


def described(recipe: Recipe, way: Way, facts: Facts) -> str:
    """Write one way of a recipe as text.

    Args:
        recipe: the recipe.
        way: one of its ways.
        facts: the facts of the machine.

    Returns:
        Lines of printable ASCII, the last one with its end.
    """
    return "".join(f"{line}\n" for line in _lines(recipe, way, facts))


def _lines(recipe: Recipe, way: Way, facts: Facts) -> Iterator[str]:
    yield f"{recipe.title}: --way {way.name}"
    yield ""
    yield from _facts(recipe, way)
    if recipe.reason:
        yield ""
        yield from _wrapped(recipe.reason)
    for part in paragraphs(filled(way.text, facts)):
        yield ""
        yield from (part if shown_as_is(part) else _wrapped(" ".join(part)))
    yield from _steps(way, facts)
    yield from _consequences(way, facts)
    yield from _undo(way, facts)
    yield from _others(recipe, way)


def _facts(recipe: Recipe, way: Way) -> Iterator[str]:
    yield from _row("is", way.title)
    yield from _row("tells", order_of(way))
    yield from _row("suits", way.suits)
    if packages := (*recipe.packages, *way.packages):
        yield from _row("packages", " ".join(packages))
    yield from _row("tried with", recipe.verified if recipe.tried else "nothing: see below")


def _row(name: str, value: str) -> Iterator[str]:
    yield from _wrapped(value, f"{name:<12}")


def _wrapped(text: str, first: str = "") -> list[str]:
    """Break a text into lines. A path or an option stays whole."""
    return textwrap.wrap(
        text,
        WIDTH,
        initial_indent=first,
        subsequent_indent=" " * len(first),
        break_long_words=False,
        break_on_hyphens=False,
    )


def _steps(way: Way, facts: Facts) -> Iterator[str]:
    number = 0
    for number, step in enumerate(way.steps(facts), 1):
        yield ""
        yield from _wrapped(step.why, f"{number}. ")
        if isinstance(step, CommandStep):
            yield from _replaced(step)
            yield f"     # {shlex.join(step.command)}"
        else:
            yield from _file(step)
    if line := trusted_line(way):
        yield ""
        say = "Let mailbell-sender trust who rings, in /etc/mailbell/sender.toml. Keep the names"
        yield from _wrapped(f"{say} that are there already.", f"{number + 1}. ")
        yield ""
        yield "     [listen]"
        yield f"     {line}"
        yield ""
        yield "     # systemctl restart mailbell-sender"


def _replaced(step: CommandStep) -> Iterator[str]:
    if step.replaces:
        yield from _wrapped(NOTE_FIRST, "   ")
        yield f"     # {shlex.join(step.replaces)}"


def _file(step: FileStep) -> Iterator[str]:
    if step.without:
        yield f"   {step.path} must not have:"
        yield ""
        yield from (f"     {line}".rstrip() for line in step.without)
    if step.without and step.lines:
        yield ""
    if step.lines:
        yield f"   {step.path}{_attributes(step)} gets{' right below' if step.below else ''}:"
        yield ""
        if step.below:
            yield f"     {step.below}"
            yield ""
            yield "   these lines:"
            yield ""
        yield from (f"     {line}".rstrip() for line in step.lines)


def _attributes(step: FileStep) -> str:
    said = [f"owner {step.owner}"] if step.owner else []
    said += [f"mode {step.mode:04o}"] if step.mode is not None else []
    said += [f"written as {step.by}, not as root"] if step.by else []
    return f" ({', '.join(said)})" if said else ""


def _consequences(way: Way, facts: Facts) -> Iterator[str]:
    for head, text in (("If the hook fails", way.fails), ("If the hook hangs", way.hangs)):
        if text:
            yield ""
            yield head
            yield from _wrapped(filled(text, facts), "  ")
    if way.traps:
        yield ""
        yield "Usual mistakes"
        for trap in way.traps:
            yield from _wrapped(filled(trap, facts), "- ")


def _undo(way: Way, facts: Facts) -> Iterator[str]:
    sentences = [each for step in reversed(way.steps(facts)) for each in undone(step)]
    if sentences:
        yield ""
        yield "To undo it"
        yield from (f"- {sentence}" for sentence in dict.fromkeys(sentences))


def _others(recipe: Recipe, way: Way) -> Iterator[str]:
    others = [other for other in recipe.ways if other.name != way.name]
    if others:
        yield ""
        yield "Other ways"
        for other in others:
            yield from _wrapped(f"--way {other.name}: {other.title}", "- ")
