"""Puts the manual pages together, each from what the project says of it already."""

import email.utils
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from mailbell import __version__
from mailbell.cli import _file, _group, _sender_file, mailbell_sender, mailbelld
from scripts.manual import roff
from scripts.manual.markdown import Section, converted, sections
from scripts.manual.programs import command_sections, help_sections

__all__ = ["PAGES", "ROOT", "page", "path_of"]

ROOT: Final = Path(__file__).resolve().parents[2]
PAGES: Final[Mapping[str, Mapping[str, Any]]] = tomllib.loads(
    Path(__file__).with_name("pages.toml").read_text()
)
"""What pages.toml says of each page, by its name and its section, such as `mailbell.1`."""

_MANUALS: Final = {
    "1": "User Commands", "5": "File Formats", "8": "System Administration",
}  # fmt: skip
_SENDER: Final = "## Configuration of `mailbell-sender`\n"
# Of docs/agent.md: what is about the file, and about its keys.
_AGENT: Final = ("agent.toml", "Options and keys", "Mail servers that refuse early logins")
# Sections about keys whose headings name no table.
_KEYS: Final = ("Forms", "Top level", "Options and keys")
# Of docs/hook.md: for developers.
_NOT_FOR_USERS: Final = ("How it is made",)


def path_of(name: str) -> str:
    """Return the place of a page in a folder of manual pages.

    Args:
        name: such as `mailbell.1`.
    """
    return f"man{name[-1]}/{name}"


def page(name: str) -> str:
    """Write a manual page.

    Args:
        name: one of `PAGES`.

    Returns:
        The text in man(7)'s language.
    """
    about = PAGES[name]
    program, _, number = name.rpartition(".")
    head = f'.TH "{program.upper()}" {number} {_day()} "mailbell {__version__}"'
    texts = [
        r".\" Written by python -m scripts.manual --write: change what it is written from.",
        f'{head} "{_MANUALS[number]}"',
        ".SH NAME",
        rf"{roff.plain(program)} \- {roff.plain(about['what'])}",
    ]
    for heading, lines in [*_SOURCES[name](), *_last(about)]:
        if lines:
            texts += [f".SH {heading.upper()}", *_spaced(lines)]
    return "\n".join(texts) + "\n"


def _day() -> str:
    """Return the day of the newest version, so that the same source gives the same bytes."""
    changelog = (ROOT / "debian" / "changelog").read_text()
    (when, *_) = re.findall(r"^ -- .*>  (.*)$", changelog, re.MULTILINE)
    return email.utils.parsedate_to_datetime(str(when)).date().isoformat()


def _spaced(lines: list[str]) -> Iterator[str]:
    """Leave out a request for a space where there is one already."""
    before = ".SH"
    for line in lines:
        if line != ".PP" or not before.startswith((".SH", ".SS")):
            yield line
        before = line


def _last(about: Mapping[str, Any]) -> Iterator[Section]:
    files: list[str] = []
    for path, what in about.get("files", {}).items():
        files += roff.tagged(roff.emphasis(roff.plain(path)), [" ".join(converted(what)[1:])])
    yield "FILES", files
    see = [
        rf".BR {roff.plain(name)} ({number})" + ("," if place < len(about["see"]) else "")
        for place, (name, number) in enumerate(
            (each.rstrip(")").split("(") for each in about["see"]), 1
        )
    ]
    yield "SEE ALSO", see


def _mailbelld() -> list[Section]:
    return help_sections(mailbelld.HELP.format(default=_file.DEFAULT_PATH))


def _mailbell_sender() -> list[Section]:
    return help_sections(mailbell_sender.HELP.format(default=_sender_file.DEFAULT_PATH))


def _mailbell() -> list[Section]:
    return command_sections(_group.program, "mailbell")


def _hook() -> list[Section]:
    """Take the page of the hook: usage, a table of the arguments, and the rest."""
    text = (ROOT / "docs" / "hook.md").read_text()
    above, usage, below = re.split(r"((?:^    mailbell-hook .*\n)+)", text, flags=re.MULTILINE)
    table, _, rest = below.partition("\n## ")
    synopsis = [roff.bold(line.strip()) for line in usage.strip().split("\n")]
    return [
        ("SYNOPSIS", [".nf", *synopsis, ".fi"]),
        ("DESCRIPTION", converted(above.partition("\n")[2])),
        ("OPTIONS", converted(table)),
        *(each for each in sections(f"## {rest}") if each[0] not in {*_NOT_FOR_USERS, ""}),
    ]


def _listener_file() -> list[Section]:
    text = (ROOT / "docs" / "configuration.md").read_text().partition(_SENDER)[0]
    return _file_page("mailbelld.toml.5", sections(text.partition("\n")[2]))


def _sender_file_page() -> list[Section]:
    text = (ROOT / "docs" / "configuration.md").read_text().partition(_SENDER)[2]
    return _file_page("sender.toml.5", sections(text, level=3))


def _agent_file() -> list[Section]:
    text = (ROOT / "docs" / "agent.md").read_text()
    found = dict(sections(text))
    first, keys, *others = _AGENT
    rest = [("", found[first]), (keys, found[keys]), *((each, found[each]) for each in others)]
    return _file_page("mailbell-agent.toml.5", rest)


def _file_page(name: str, found: list[Section]) -> list[Section]:
    """Order the sections of a file's page: what it is, its keys, the rest, examples."""
    about = PAGES[name]
    keys: list[str] = []
    others: list[Section] = []
    for heading, lines in found[1:]:
        if heading.startswith("[") or heading in _KEYS:
            keys += [f".SS {heading}", *lines]
        else:
            others.append((heading, lines))
    examples: list[str] = []
    for each in about["examples"]:
        text = (ROOT / "examples" / "configuration" / f"{each}.toml").read_text()
        examples += roff.lines(text.rstrip("\n").split("\n"))
    synopsis = [roff.emphasis(roff.plain(about["synopsis"]))]
    return [
        ("SYNOPSIS", synopsis), ("DESCRIPTION", found[0][1]), ("KEYS", keys), *others,
        ("EXAMPLES", examples),
    ]  # fmt: skip


_SOURCES: Final[Mapping[str, Callable[[], list[Section]]]] = {
    "mailbell.1": _mailbell,
    "mailbelld.8": _mailbelld,
    "mailbell-sender.8": _mailbell_sender,
    "mailbell-hook.1": _hook,
    "mailbelld.toml.5": _listener_file,
    "sender.toml.5": _sender_file_page,
    "mailbell-agent.toml.5": _agent_file,
}
