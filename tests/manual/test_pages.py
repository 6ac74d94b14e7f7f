"""Each option and each key is in its manual page, with its default, and nothing else is."""

import inspect
import re
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import click
import msgspec
import pytest
from documents.blocks import block
from manual.reading import MAN, part, read, terms
from service_files.units import require

from mailbell import hook
from mailbell.agent import configuration as agent
from mailbell.cli import _file, _group, _options, _sender_file, mailbell_sender
from mailbell.configuration.reader import Problems, convert
from mailbell.core.errors import UsageError
from mailbell.listener import configuration as listener
from mailbell.sender import configuration as sender
from scripts.manual import pages, roff
from scripts.manual.__main__ import main

ROOT: Final = pages.ROOT
DEFAULT: Final = re.compile(r"Default: (.+?)\.(?= Bounds:|$)")


def test_the_pages_are_what_is_written_now(tmp_path: Path) -> None:
    assert main([str(tmp_path)]) == 0
    written = {str(path.relative_to(tmp_path)): path for path in tmp_path.rglob("*.[158]")}
    kept = {str(path.relative_to(MAN)): path for path in MAN.rglob("*") if path.is_file()}
    assert set(written) == set(kept)
    changed = [name for name in kept if kept[name].read_text() != written[name].read_text()]
    assert changed == [], "run: make man"


def test_the_documented_command_writes_the_pages() -> None:
    assert block("docs/building.md", "The manual pages").text.strip() == "$ make man"
    (recipe,) = re.findall(
        r"(?m)^man: .*\n\t@\$\(BIN\)/python (.*)$", (ROOT / "Makefile").read_text()
    )
    assert recipe == "-m scripts.manual --write"


def commands(
    command: click.Command, path: str, parent: click.Context | None
) -> Iterator[tuple[str, click.Command, click.Context]]:
    context = click.Context(
        command, parent, path.rsplit(maxsplit=1)[-1], **command.context_settings
    )
    yield path, command, context
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            below = command.get_command(context, name)
            assert below
            yield from commands(below, f"{path} {name}", context)


COMMANDS: Final = list(commands(_group.program, "mailbell", None))


@pytest.mark.parametrize(("path", "command", "context"), COMMANDS, ids=[row[0] for row in COMMANDS])
def test_each_command_has_its_options(
    path: str, command: click.Command, context: click.Context
) -> None:
    heading = "OPTIONS" if path == "mailbell" else path.replace("-", r"\-")
    found = terms(read("mailbell.1"), heading)
    options = [each for each in command.get_params(context) if isinstance(each, click.Option)]
    named = {name for each in options for name in [*each.opts, *each.secondary_opts]}
    in_page = [re.findall(r"(?<![\w-])--?[\w-]+", term) for term in found]
    assert sorted(name for names in in_page for name in names) == sorted(named)
    for each in options:
        (said,) = (text for term, text in found.items() if each.opts[-1] in term.split())
        shown = each.get_help_record(context)
        assert shown
        assert " ".join(shown[1].split()) == said


def test_each_command_is_there_and_has_examples() -> None:
    page = read("mailbell.1")
    headings = re.findall(r"(?m)^\.SS (.*)$", page)
    assert [each.replace(r"\-", "-") for each in headings] == [row[0] for row in COMMANDS[1:]]
    for heading in headings:
        assert f"\n{heading}" in part(page, heading).partition("Examples:\n")[2]


def accepted(name: str) -> bool:
    try:
        _options.read([name, "x"])
    except UsageError as error:
        return "takes options only" in str(error)  # an option without a value, and a word
    return True


def test_mailbelld_has_its_options() -> None:
    found = terms(read("mailbelld.8"), "OPTIONS")
    source = inspect.getsource(_options)
    known = {name for name in re.findall(r'"(-{1,2}[a-zA-Z-]+)"', source) if accepted(name)}
    names = [re.findall(r"(?<![\w-])--?\w+", term) for term in found]
    assert {name for each in names for name in each} == known
    assert len(known) > 7
    assert found["--config FILE"] == f"default: {_file.DEFAULT_PATH}, if it exists"


def test_mailbell_sender_has_its_options() -> None:
    found = terms(read("mailbell-sender.8"), "OPTIONS")
    source = inspect.getsource(mailbell_sender._option)
    names = {name for term in found for name in re.findall(r"(?<![\w-])--?\w+", term)}
    assert names == set(re.findall(r'"(-{1,2}[a-zA-Z]+)"', source))
    assert found["--config FILE"] == f"default: {_sender_file.DEFAULT_PATH}, if it exists"


def test_mailbell_hook_has_its_options() -> None:
    found = terms(read("mailbell-hook.1"), "OPTIONS")
    names = {name for term in found for name in re.findall(r"(?<![\w-])--[\w-]+", term)}
    source = Path(hook.__file__).read_text().partition("def ")[2]
    plain = set(re.findall(r'b"(--[a-z-]+)"', source))
    assert names == {name.decode() for name in hook._VALUED} | plain
    assert hook._SOCKET.decode() in found["--socket=PATH"]


def keys(structure: type[msgspec.Struct], path: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Yield each key, its type and its default; `...`: it has none."""
    for field in msgspec.structs.fields(structure):
        default = ... if field.default is msgspec.NODEFAULT else field.default
        if isinstance(default, msgspec.Struct):
            yield from keys(type(default), f"{path}{field.name}.")
        else:
            yield f"{path}{field.name}", field.type, default


LISTENER: Final = [
    *keys(listener.Configuration),
    *keys(listener.AccountSettings, "account."),
]
SENDER: Final = [
    *(row for row in keys(sender.Configuration) if row[0] != "account"),
    *keys(sender.AccountSettings, "account."),
]


def in_page(name: str) -> dict[str, str]:
    found = terms(read(name), "KEYS")
    forms = terms(read(name), "Forms") if name == "mailbelld.toml.5" else {}
    return {key: said for key, said in found.items() if key not in forms}


@pytest.mark.parametrize(
    ("name", "rows"), [("mailbelld.toml.5", LISTENER), ("sender.toml.5", SENDER)]
)
def test_a_file_has_its_keys_with_their_defaults(
    name: str, rows: list[tuple[str, Any, Any]]
) -> None:
    found = in_page(name)
    assert set(found) == {key for key, _, _ in rows}
    for key, kind, default in rows:
        said = DEFAULT.search(found[key])
        assert said, key
        if default is ...:
            assert said[1] == "required"
        elif default is None:
            assert said[1] == "send.transport"
        else:
            problems = Problems()
            value = convert(kind, tomllib.loads(f"x = {said[1]}")["x"], key, problems)
            problems.raise_if_any()
            assert value == default, key


def test_the_agents_file_has_its_keys_with_their_defaults() -> None:
    found = in_page("mailbell-agent.toml.5")
    known = {field.name: field.type for field in msgspec.structs.fields(agent._Job)}
    assert set(found) == set(known)
    compared = set()
    for key, default in agent.DEFAULTS.items():
        said = DEFAULT.search(found[key])
        assert said, key
        value = tomllib.loads(f"x = {said[1].rpartition('or ')[2]}")["x"]
        problems = Problems()
        assert convert(known[key], value, key, problems) == default, key
        problems.raise_if_any()
        compared.add(key)
    assert len(compared) > 12


@pytest.mark.parametrize("name", pages.PAGES)
def test_mandoc_says_no_word(name: str) -> None:
    require("mandoc")
    path = MAN / pages.path_of(name)
    done = subprocess.run(
        ["mandoc", "-Tlint", path], capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_mandoc_would_complain(tmp_path: Path) -> None:
    require("mandoc")
    broken = tmp_path / "mailbelld.8"
    broken.write_text(read("mailbelld.8").replace(".SH OPTIONS\n", ".SH OPTIONS\n.PP\n.XX\n"))
    done = subprocess.run(
        ["mandoc", "-Tlint", broken], capture_output=True, text=True, check=False, timeout=60
    )
    assert "XX" in done.stdout + done.stderr


def test_whatis_knows_each_page(tmp_path: Path) -> None:
    require("makewhatis", "mwhatis")
    assert main([str(tmp_path)]) == 0
    subprocess.run(["makewhatis", tmp_path], check=True, capture_output=True, timeout=60)
    for name, about in pages.PAGES.items():
        program, _, section = name.rpartition(".")
        told = subprocess.run(
            ["mwhatis", "-M", tmp_path, program],
            check=True, capture_output=True, text=True, timeout=60,
        ).stdout  # fmt: skip
        assert f"{program}({section}) - {about['what']}" in told.splitlines()


def test_what_a_page_names_is_a_page() -> None:
    for about in pages.PAGES.values():
        for each in about["see"]:
            assert re.sub(r"\((\d)\)", r".\1", each) in pages.PAGES


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("a-b", "a-b"),
        ("--user -x 3-4", r"\-\-user \-x 3\-4"),
        ("it's `x` ~ ^ \\", r"it\(aqs \(gax\(ga \(ti \(ha \(rs"),
    ],
)
def test_characters_are_named(text: str, written: str) -> None:
    assert roff.plain(text) == written


def test_what_is_no_ascii_is_refused() -> None:
    with pytest.raises(ValueError, match="ASCII"):
        roff.plain("caf\u00e9")
    with pytest.raises(ValueError, match="ASCII"):
        roff.bold("two\nlines")


def test_no_line_begins_a_request() -> None:
    lines = [*roff.paragraph(f"{'x' * 75} .SH 'a'"), *roff.lines([".SH", "", "'a"])]
    assert [line for line in lines if line[:1] in {".", "'"}] == [".PP", ".PP", ".RS 4", ".nf",
                                                                 ".fi", ".RE"]  # fmt: skip
    assert r"\&.SH" in lines
