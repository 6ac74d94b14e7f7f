"""The pages of docs/servers/: a recipe, and the table of what the tests have measured."""

import re
import shlex
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from mailbell.recipes.facts import Facts, filled
from mailbell.recipes.plain import (
    NOTE_FIRST,
    order_of,
    paragraphs,
    shown_as_is,
    trusted_line,
    undone,
)
from mailbell.recipes.recipe import Recipe, Way
from mailbell.recipes.steps import CommandStep, FileStep

__all__ = ["Result", "overview", "page"]

Result = Mapping[str, float | str]
"""What a test has noted of a way: "server", "version", "way", and figures by their names."""

_USUAL: Final = Facts()
# An underscore within a word means nothing.
_SPECIAL: Final = re.compile(r"[\\`*<>\[\]]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])|&(?=#?\w+;)")
_NOT_RUN: Final = "not run yet"
_MADE: Final = (
    "<!-- Made by scripts/server_pages.py from {}: change that, and run it with --write. -->\n"
)


def page(recipe: Recipe) -> str:
    """Write the page of a server.

    Args:
        recipe: its recipe.

    Returns:
        Markdown.
    """
    return "".join(f"{line}\n" for line in _page(recipe))


def overview(recipes: Iterable[Recipe], results: Iterable[Result]) -> str:
    """Write the page of all servers.

    Args:
        recipes: all recipes.
        results: what the tests have noted; none if they were not run.

    Returns:
        Markdown.
    """
    return "".join(f"{line}\n" for line in _overview(tuple(recipes), tuple(results)))


# --- the page of a server -----------------------------------------------------------


def _page(recipe: Recipe) -> Iterator[str]:
    yield _MADE.format(f"src/mailbell/recipes/{recipe.name}.toml")
    yield f"# {recipe.title}"
    yield ""
    yield recipe.summary
    yield ""
    yield f"Tried with {recipe.verified}." if recipe.tried else "Not tried here."
    if recipe.reason:
        yield _escaped(recipe.reason)
    yield ""
    if recipe.packages:
        yield f"Packages of Debian: {_codes(recipe.packages)}."
    yield f"`mailbell sender recipe {recipe.name}` prints the first way below for your machine."
    yield "`--way NAME` prints another one, and `--check` tells which of them is in force."
    yield "[All servers](README.md)."
    yield ""
    yield "| way | is | tells |"
    yield "| --- | --- | --- |"
    for way in recipe.ways:
        yield f"| [{way.name}](#{way.name}) | {_cell(way.title)} | {order_of(way)} |"
    for way in recipe.ways:
        yield from _way(way)


def _way(way: Way) -> Iterator[str]:
    yield ""
    yield f"## {way.name}"
    yield ""
    yield f"{_escaped(way.title)}. Suits {_escaped(way.suits)}. Tells {order_of(way)}."
    if way.packages:
        yield f"It also needs {_codes(way.packages)}."
    for part in paragraphs(filled(way.text, _USUAL)):
        yield ""
        yield from (part if shown_as_is(part) else [_escaped(" ".join(part))])
    yield from _steps(way)
    yield from _consequences(way)


def _steps(way: Way) -> Iterator[str]:
    number = 0
    for number, step in enumerate(way.steps(_USUAL), 1):
        yield ""
        yield f"{number}. {_escaped(step.why)}"
        yield from (_command(step) if isinstance(step, CommandStep) else _file(step))
    if line := trusted_line(way):
        yield ""
        yield f"{number + 1}. Let `mailbell-sender` trust who rings, in"
        yield "`/etc/mailbell/sender.toml`. Keep the names that are there already."
        yield ""
        yield from _fenced(["[listen]", line], "toml")


def _command(step: CommandStep) -> Iterator[str]:
    yield ""
    if step.replaces:
        yield NOTE_FIRST
        yield ""
    commands = filter(None, (step.replaces, step.command))
    yield from _fenced([f"# {shlex.join(each)}" for each in commands], "console")


def _file(step: FileStep) -> Iterator[str]:
    if step.without:
        yield ""
        yield f"`{step.path}` must not have:"
        yield ""
        yield from _fenced(step.without)
    if step.lines:
        yield ""
        yield f"{_gets(step)}:"
        yield ""
        yield from _fenced(step.lines)


def _gets(step: FileStep) -> str:
    said = [f"owner `{step.owner}`"] if step.owner else []
    said += [f"mode `{step.mode:04o}`"] if step.mode is not None else []
    said += [f"written as `{step.by}`, not as root"] if step.by else []
    attributes = f" ({', '.join(said)})" if said else ""
    where = f", right below `{step.below}`" if step.below else ""
    return f"`{step.path}`{attributes} gets{where}"


def _consequences(way: Way) -> Iterator[str]:
    for head, text in (("If the hook fails", way.fails), ("If the hook hangs", way.hangs)):
        if text:
            yield ""
            yield f"**{head}.** {_escaped(filled(text, _USUAL))}"
    if way.traps:
        yield ""
        yield "Usual mistakes:"
        yield ""
        yield from (f"- {_escaped(filled(trap, _USUAL))}" for trap in way.traps)
    sentences = [each for step in reversed(way.steps(_USUAL)) for each in undone(step)]
    if sentences:
        yield ""
        yield "To undo it:"
        yield ""
        yield from _fenced(dict.fromkeys(sentences))


def _fenced(lines: Iterable[str], kind: str = "text") -> Iterator[str]:
    """Show lines as they are. No line of a recipe has three grave accents."""
    yield f"```{kind}"
    yield from lines
    yield "```"


def _codes(words: Iterable[str]) -> str:
    return ", ".join(f"`{word}`" for word in words)


def _escaped(text: str) -> str:
    """Return a sentence in which no character means anything to Markdown."""
    return _SPECIAL.sub(r"\\\g<0>", text)


def _cell(text: object) -> str:
    return _escaped(str(text)).replace("|", "\\|")


# --- the page of all servers --------------------------------------------------------

_HEAD: Final = """\
# Mail servers: what makes each of them ring

`mailbell sender recipe` lists these servers. `mailbell sender recipe NAME` prints the lines for
your machine, what happens to the mail if the hook fails or hangs, and how to undo it.
`mailbell sender recipe NAME --check` tells whether it is in force.

Each way below was run with the real server: a mail comes in by SMTP or LMTP and is delivered, and
a `mailbelld` in another network namespace is rung. The time is that from the moment at which the
mail is visible in the mailbox to the line that `mailbell watch` prints; the middle one of several.
`.ci/run servers` runs this, and `scripts/server_pages.py` writes the table.
"""


def _overview(recipes: tuple[Recipe, ...], results: tuple[Result, ...]) -> Iterator[str]:
    yield _MADE.format("src/mailbell/recipes/ and docs/servers/results.json")
    yield _HEAD
    yield "| server | version | way | tells of | delivery to ring | order | also measured |"
    yield "| --- | --- | --- | --- | --- | --- | --- |"
    left = list(results)
    for recipe in recipes:
        for way in recipe.ways:
            found = [each for each in left if _is_of(each, recipe, way)]
            left = [each for each in left if each not in found]
            if recipe.tried and way.step:
                yield _row(recipe, way, _merged(found))
    if left:
        yield ""
        yield "Also measured:"
        yield ""
        yield from (f"- {_cell(_text(each))}" for each in left)
    untried = [recipe for recipe in recipes if not recipe.tried]
    if untried:
        yield ""
        yield "Not run, and why:"
        yield ""
    for recipe in untried:
        yield f"- [{recipe.title}]({recipe.name}.md): {_escaped(recipe.reason)}"


# Every other figure is shown under its own name.
_NAMING: Final = frozenset({"server", "version", "way", "milliseconds", "order"})


def _is_of(result: Result, recipe: Recipe, way: Way) -> bool:
    server = str(result.get("server", "")).lower()
    return server in (recipe.name, recipe.title.lower()) and result.get("way") == way.name


def _merged(results: Iterable[Result]) -> dict[str, float | str]:
    merged: dict[str, float | str] = {}
    for result in results:
        merged |= result
    return merged


def _row(recipe: Recipe, way: Way, result: Result) -> str:
    version = _cell(result.get("version", _NOT_RUN))
    took = result.get("milliseconds")
    shown = "" if result or way.tells == "logins" else _NOT_RUN
    time = f"{took:.3g} ms" if isinstance(took, int | float) else shown
    more = _text({name: value for name, value in result.items() if name not in _NAMING})
    link = f"[{recipe.title}]({recipe.name}.md)"
    return (
        f"| {link} | {version} | [{way.name}]({recipe.name}.md#{way.name})"
        f" | {way.tells} | {time} | {_cell(result.get('order', way.order))} | {_cell(more)} |"
    )


def _text(result: Result) -> str:
    return ", ".join(f"{name.replace('_', ' ')} {_figure(value)}" for name, value in result.items())


def _figure(value: float | str) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
