"""`mailbell clients`: shows the mail programs that `mailbell run --client` knows."""

import shlex
from collections.abc import Iterator, Mapping

import click
from msgspec.structs import asdict
from rich.console import Group, RenderableType
from rich.text import Text

from mailbell.agent.preset import Preset, similar
from mailbell.cli._agent_file import presets
from mailbell.cli._common import json_line, plain_table, show
from mailbell.cli._here import Here, look
from mailbell.cli.run import complete_client
from mailbell.core.errors import UsageError
from mailbell.core.escape import printable

__all__ = ["command"]

_FOLDER = "FOLDER"  # in a preset's text: the folder of our sources for that program

_KINDS: Mapping[str, str] = {
    "run": "fetches, and ends when the mail is there",
    "poke": "tells a running program to fetch",
    "none": "runs no command; its text says what to set or to install instead",
}


def _here(preset: Preset, here: Here) -> Text:
    """Say what there is of a program, in few words."""
    lines = []
    if here.installed is not None:
        lines.append(Text("installed") if here.installed else Text("not installed", style="dim"))
    if preset.helper:
        lines.append(Text("helper in place") if here.helper else Text("no helper", style="yellow"))
    missing = set(here.missing) - set(preset.programs)
    lines += [Text(f"{program} missing", style="yellow") for program in sorted(missing)]
    return Text("\n").join(lines)


def _needs(preset: Preset, here: Here) -> Text:
    text = Text()
    for program in preset.needs:
        text.append("\n" if text else "")
        text.append(program)
        if program in here.missing:
            text.append(" (missing)", style="yellow")
    return text


def _table(known: Mapping[str, Preset]) -> RenderableType:
    table = plain_table("client", "kind", "what it does", "here")
    for preset in known.values():
        name = Text(preset.name, style="bold")
        table.add_row(name, preset.kind, preset.what, _here(preset, look(preset)))
    kinds = [Text(f"{kind:<5} {meaning}") for kind, meaning in _KINDS.items()]
    more = Text(
        "A helper is what mailbell adds to the program itself.\n"
        "'mailbell clients NAME' shows the command and the usual mistakes"
    )
    return Group(table, Text(), *kinds, Text(), more)


def _show_details(preset: Preset) -> None:
    here = look(preset)
    facts = plain_table("", "", header=False)
    for name, value in _facts(preset, here):
        facts.add_row(Text(name, style="dim"), value)
    show(Group(Text(preset.title, style="bold"), Text(f"{preset.what}."), Text(), facts))
    for name, path in (("helper", here.helper), ("sources", here.sources)):
        if path is not None:
            _show_whole(Text.assemble((name, "dim"), f"\n  {printable(path)}"))
    if preset.setup:
        _show_whole(Text.assemble("\n", ("What to set", "bold"), "\n\n", _setup(preset, here)))
    if preset.traps:
        traps = plain_table("", "", header=False)
        for trap in preset.traps:
            traps.add_row("-", trap)
        show(Group(Text("\nUsual mistakes\n", style="bold"), traps))


def _show_whole(text: Text) -> None:
    """Print a text without new line breaks: a person copies the paths in it."""
    show(text, soft_wrap=True)


def _setup(preset: Preset, here: Here) -> str:
    """Return what to set in the program, with the folder of our sources for it."""
    setup = preset.setup.rstrip()
    return (
        setup
        if here.sources is None
        else setup.replace(_FOLDER, shlex.quote(printable(here.sources)))
    )


def _facts(preset: Preset, here: Here) -> Iterator[tuple[str, RenderableType]]:
    yield "kind", f"{preset.kind}: {_KINDS[preset.kind]}"
    yield from _found(preset, here)
    if preset.command:
        yield "runs", shlex.join((*preset.command, *preset.args))
        yield "say", _line(preset)
    if preset.words:
        yield "words", preset.words
    if preset.then:
        yield "then", shlex.join(preset.then)
    yield from _codes(preset)
    if preset.command:
        yield "lock", preset.lock
        if preset.only_rung:
            yield "when", "for notifications only, not at the start, after sleep or as a poll"
    if preset.needs:
        yield "needs", _needs(preset, here)
    yield "verified", preset.verified


def _found(preset: Preset, here: Here) -> Iterator[tuple[str, RenderableType]]:
    if here.installed is not None:
        without = f"not installed: no {' or '.join(preset.programs)} in PATH"
        yield "here", "installed" if here.installed else without
    if preset.helper and here.helper is None:
        yield "helper", Text("not in place", style="yellow")


def _codes(preset: Preset) -> Iterator[tuple[str, str]]:
    for fact, codes in (("success", preset.ok_codes | {0}), ("busy", preset.busy_codes)):
        if codes - {0}:
            yield fact, "exit codes " + ", ".join(map(str, sorted(codes)))


def _line(preset: Preset) -> str:
    """Return a command line to try."""
    speaks = any("{account}" in word for word in (*preset.command, *preset.args, *preset.then))
    words = ["mailbell run --client", preset.name]
    if speaks:
        words.append("--account NAME")
    if preset.words:
        words.append("-- WORD..." if preset.words_needed else "[-- WORD...]")
    return " ".join(words)


def _record(preset: Preset) -> dict[str, object]:
    record = asdict(preset)
    codes = {key: sorted(record[key]) for key in ("ok_codes", "busy_codes")}
    here = look(preset)
    return (
        record
        | codes
        | {
            "missing": here.missing,
            "installed": here.installed,
            "helper_in_place": here.helper is not None if preset.helper else None,
            "helper_path": here.helper,
            "sources": here.sources,
        }
    )


_EXAMPLES = """\b
Examples:
  mailbell clients
  mailbell clients mbsync
  mailbell clients --json | jq -r '.clients[] | select(.installed).name'"""


_HELP = """\
Show the mail programs that 'mailbell run --client' knows, or one in detail.

The table says whether each program is installed here, and whether the helper
of mailbell is in place that some programs load. The details of a program are
its command, the exit codes that are a success, the programs that it needs and
whether they are installed, the usual mistakes, and the version that it was
tried with."""


@click.command(help=_HELP, epilog=_EXAMPLES, short_help="Show which mail programs 'run' knows.")
@click.argument("name", required=False, shell_complete=complete_client)
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def command(name: str | None, as_json: bool) -> None:
    """Show the mail programs that 'mailbell run --client' knows, or one in detail."""
    known = presets()
    if name is None:
        everything = {"clients": [_record(preset) for preset in known.values()]}
        click.echo(json_line(everything)) if as_json else show(_table(known))
        return
    said, name = name, name.lower()
    if name not in known:
        near = similar(name, known)
        remedy = f"perhaps {' or '.join(near)}" if near else "'mailbell clients' shows them"
        raise UsageError(f"{said!r} is not a known client", remedy)
    click.echo(json_line(_record(known[name]))) if as_json else _show_details(known[name])
