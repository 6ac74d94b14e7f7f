"""Turns what the programs say with `--help` into man(7)'s language."""

import re
from collections.abc import Iterator, Sequence
from typing import Final

import click

from scripts.manual import roff
from scripts.manual.markdown import Section

__all__ = ["command_sections", "commands", "help_sections"]

# A line of a list of options: `  -h, --help          print this help`.
_OPTION: Final = re.compile(r"  (-\S.*?)(?:  +(\S.*))?")
_HEADED: Final = re.compile(r"[a-z][^:\n]*:")
_SYNOPSIS: Final = "usage: "
_CODES: Final = "exit codes: "
# How the paragraphs below the commands of `mailbell --help` begin, and their headings.
_ENDS: Final = {
    "Completion": "COMPLETION",
    "The local socket": "SOCKETS",
    "Exit codes": "EXIT STATUS",
}


def help_sections(text: str) -> list[Section]:
    """Convert the help of a daemon.

    Args:
        text: as it is printed. Paragraphs are separated by an empty line. The first is the
            usage; one that begins with `options:`, `examples:` or `exit codes:` is a section.

    Returns:
        The sections, in the order of a manual page.
    """
    usage, what, *rest = text.strip("\n").split("\n\n")
    synopsis = usage.removeprefix(_SYNOPSIS).split("\n")
    description = list(roff.paragraph(roff.plain(_flowed(what))))
    options: list[str] = []
    examples: list[str] = []
    codes: list[str] = []
    for block in rest:
        first, _, below = block.partition("\n")
        if first == "options:":
            options += _options(below.split("\n"))
        elif block.startswith(_CODES):
            codes += _codes(_flowed(block.removeprefix(_CODES)))
        elif _HEADED.fullmatch(first):
            if first != "examples:":
                examples += roff.paragraph(roff.plain(first[:1].upper() + first[1:]))
            examples += roff.lines(_dedented(below))
        else:
            description += roff.paragraph(roff.plain(_flowed(block)))
    return [
        ("SYNOPSIS", list(_synopsis(synopsis))),
        ("DESCRIPTION", description),
        ("OPTIONS", options),
        ("EXIT STATUS", codes),
        ("EXAMPLES", examples),
    ]


def _synopsis(usage: Sequence[str]) -> Iterator[str]:
    yield ".nf"
    yield from (roff.bold(line) for line in usage)
    yield ".fi"


def _flowed(text: str) -> str:
    return " ".join(text.split())


def _dedented(text: str) -> list[str]:
    return [line.removeprefix("  ") for line in text.split("\n")]


def _options(texts: Sequence[str]) -> Iterator[str]:
    for line in texts:
        found = _OPTION.fullmatch(line)
        if not found:
            raise ValueError(f"no option: {line!r}")
        yield from roff.tagged(roff.bold(found[1]), [roff.plain(found[2])])


def _codes(text: str) -> Iterator[str]:
    """Yield an entry for each exit code of `64 usage, 70 a bug`."""
    if not text.startswith("0 "):
        yield from roff.tagged(roff.bold("0"), ["a signal has ended it"])
    for entry in text.rstrip(".").split(", "):
        code, _, what = entry.partition(" ")
        yield from roff.tagged(roff.bold(code), [roff.plain(what)])


def commands(
    command: click.Command, path: str, parent: click.Context | None = None
) -> Iterator[tuple[str, click.Command, click.Context]]:
    """Yield a command and all commands below it, in the order of the help.

    Args:
        command: the first one.
        path: its name.
        parent: the context of the command above it.

    Yields:
        The words of each command, such as `mailbell sender status`; the command; its context.
    """
    name = path.rpartition(" ")[2]
    context = click.Context(command, parent, name, **command.context_settings)
    yield path, command, context
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            below = command.get_command(context, name)
            if below is not None:
                yield from commands(below, f"{path} {name}", context)


def command_sections(program: click.Command, name: str) -> list[Section]:
    """Convert the help of a program with commands.

    Args:
        program: the program.
        name: its name.

    Returns:
        The sections. Each command is one within COMMANDS.
    """
    (_, _, context), *below = commands(program, name)
    usage = " ".join([name, *program.collect_usage_pieces(context)])
    return [
        ("SYNOPSIS", list(_synopsis([usage]))),
        ("DESCRIPTION", list(_texts(program.help or ""))),
        ("OPTIONS", list(_parameters(program, context))),
        ("COMMANDS", [line for each in below for line in _command(*each)]),
        *_ends(program.epilog or ""),
    ]


def _ends(epilog: str) -> Iterator[Section]:
    """Yield what stands below the commands, each paragraph a section."""
    for block in re.split(r"\n\n+", epilog.strip("\n")):
        heading = next(named for named in _ENDS if block.removeprefix("\b\n").startswith(named))
        if heading == "Exit codes":
            yield _ENDS[heading], list(_codes(_flowed(block.partition(": ")[2])))
        else:
            yield _ENDS[heading], list(_texts(block))


def _command(path: str, command: click.Command, context: click.Context) -> Iterator[str]:
    yield f".SS {roff.plain(path)}"
    yield from roff.paragraph(roff.bold(" ".join([path, *command.collect_usage_pieces(context)])))
    yield from _texts(command.help or "")
    yield from _parameters(command, context)
    yield from _texts(command.epilog or "")


def _parameters(command: click.Command, context: click.Context) -> Iterator[str]:
    for parameter in command.get_params(context):
        record = parameter.get_help_record(context)
        if isinstance(parameter, click.Option) and record is not None:
            names, text = record
            yield from roff.tagged(roff.bold(names), [roff.plain(_flowed(text))])


def _texts(text: str) -> Iterator[str]:
    """Yield the paragraphs of a help text. click shows those with a backspace as they are."""
    for block in re.split(r"\n\n+", text.strip("\n")):
        if not block.startswith("\b\n"):
            if block:
                yield from roff.paragraph(roff.plain(_flowed(block)))
            continue
        first, *below = block.removeprefix("\b\n").split("\n")
        if below and below[0].startswith("  "):
            yield from roff.paragraph(roff.plain(first))
            yield from roff.lines(line.removeprefix("  ") for line in below)
        else:
            yield from roff.paragraph(roff.plain(_flowed(" ".join([first, *below]))))
