"""`mailbell sender recipe`, on the shipped recipes and on a machine made for the test."""

import os
import pwd
import socket
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import click
import pytest
from cli.support import Run
from click.shell_completion import CompletionItem

from mailbell.cli import _group, _recipe_check, _recipe_machine, sender_recipe
from mailbell.cli._recipe_machine import User
from mailbell.cli.sender_recipe import complete_server, complete_user, complete_way
from mailbell.recipes import load, names
from mailbell.recipes.facts import Facts
from mailbell.sender.configuration import parse

ME = pwd.getpwuid(os.geteuid())
Printed = pytest.CaptureFixture[str]


def test_the_table_has_every_server_in_80_columns(run: Run) -> None:
    result = run("mailbell", "sender", "recipe")
    assert (result.returncode, result.stderr) == (0, "")
    lines = result.stdout.splitlines()
    assert max(map(len, lines)) <= 80
    first = {line.split()[0] for line in lines if line and not line.startswith(" ")}
    assert set(names()) < first
    for name in names():
        assert load(name).ways[0].name in result.stdout


def test_a_recipe_is_printed_for_this_machine(run: Run) -> None:
    result = run("mailbell", "sender", "recipe", "postfix", "--user", ME.pw_name)
    assert (result.returncode, result.stderr) == (0, "")
    facts = _recipe_machine.facts_of(None, User(ME.pw_name, ME.pw_dir))
    for step in load("postfix").ways[0].steps(facts):
        for line in getattr(step, "lines", ()):
            assert f"     {line}\n" in result.stdout
    assert f"{facts.hook} --account={ME.pw_name}" in result.stdout
    assert "To undo it" in result.stdout
    assert "--way dovecot-lda" in result.stdout


def test_another_way_is_printed_by_its_name(run: Run) -> None:
    result = run("mailbell", "sender", "recipe", "postfix", "--way", "bcc")
    assert result.stdout.startswith("Postfix: --way bcc\n")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ["dovecot"],
            "there is no recipe for 'dovecot'; perhaps dovecot-2.3 or dovecot-2.4; all: ",
        ),
        (["postfix", "--way", "x"], "'x' is no way of Postfix; the ways are: "),
        (["postfix", "--user", "no-such-user"], "'no-such-user' is no user of this machine; name "),
        (["--check"], "no server is named; run: mailbell sender recipe"),
        (["--user", "root"], "no server is named; "),
        (["--way", "x"], "no server is named; "),
    ],
)
def test_what_does_not_exist_is_told_with_what_does(
    words: list[str], said: str, capsys: Printed
) -> None:
    assert _group.run(["sender", "recipe", *words]) == 64
    assert capsys.readouterr().err.startswith(f"mailbell: {said}")


# --- --check --------------------------------------------------------------------------


@pytest.fixture
def machine(open_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Facts]:
    """Yield the facts of a machine that has the hook and its socket, and no recipe in force."""
    hook = open_path / "mailbell-hook"
    hook.write_text("#!/bin/sh\n")
    hook.chmod(0o755)
    facts = Facts(hook=str(hook), socket=str(open_path / "s"), user=ME.pw_name, home=str(open_path))
    configuration = parse(f'[listen]\nhook = "{facts.socket}"\n'.encode())
    monkeypatch.setattr(_recipe_machine, "facts_of", lambda *_: facts)
    monkeypatch.setattr(_recipe_machine, "ordinary_users", list)
    monkeypatch.setattr(_recipe_machine, "sender_configuration", lambda: (configuration, ""))
    monkeypatch.setattr(_recipe_check, "find_weaknesses", lambda *_, **__: ())
    monkeypatch.setattr(_recipe_check, "_HOOKS_PLACE", facts.socket)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(facts.socket)
        os.chmod(facts.socket, 0o666)
        yield facts


def check(*words: str) -> int:
    return _group.run(["sender", "recipe", *words, "--check"])


def apply(server: str, way: str, facts: Facts) -> Path:
    """Write the one file of a way."""
    (step,) = load(server).way(way).steps(facts)
    path = Path(getattr(step, "path", ""))
    path.write_text(getattr(step, "text", ""))
    path.chmod(getattr(step, "mode", None) or 0o644)
    return path


def test_what_is_not_in_force_is_said_with_one_reason_each(machine: Facts, capsys: Printed) -> None:
    assert check("maildrop") == 69
    text = capsys.readouterr().out
    assert text.startswith("maildrop on this machine\n\ncc: not in force, for the user ")
    assert f"FAIL there is no {machine.home}/.mailfilter\n      -> make it" in text


def test_what_is_in_force_and_whole_ends_with_0(machine: Facts, capsys: Printed) -> None:
    apply("maildrop", "cc", machine)
    assert check("maildrop") == 0
    text = capsys.readouterr().out
    assert "\ncc: in force, for the user " in text
    assert f"ok   {machine.hook} is there\n" in text
    assert f"ok   {machine.socket} is there\n" in text


def test_what_is_in_force_and_lacks_something_ends_with_78(machine: Facts, capsys: Printed) -> None:
    apply("maildrop", "cc", machine)
    Path(machine.socket).unlink()
    assert check("maildrop", "--way", "cc") == 78
    text = capsys.readouterr().out
    assert f"FAIL {machine.socket}: no such file or directory, so nobody is rung\n" in text
    assert "-> start mailbell-sender; run: mailbell sender check\n" in text


def test_lines_in_another_order_are_not_in_force(machine: Facts, capsys: Printed) -> None:
    """Reversed, Postfix rings before the mail is in the mailbox."""
    path = apply("postfix", "forward", machine)
    path.write_text("".join(reversed(path.read_text().splitlines(keepends=True))))
    assert check("postfix", "--way", "forward") == 69
    assert f"FAIL {path} lacks the line: " in capsys.readouterr().out


def test_among_several_users_those_who_have_it_count(
    machine: Facts, capsys: Printed, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    homes = {name: tmp_path / name for name in ("anna", "bob", "carol")}
    for home in homes.values():
        home.mkdir()
    people = [User(name, str(home)) for name, home in homes.items()]
    monkeypatch.setattr(_recipe_machine, "ordinary_users", lambda: people)
    monkeypatch.setattr(_recipe_machine, "_name_of", lambda _: "bob")
    assert check("maildrop") == 69
    assert "\ncc: not in force, for the user anna " in capsys.readouterr().out
    apply("maildrop", "cc", replace(machine, user="bob", home=str(homes["bob"])))
    assert check("maildrop") == 0
    text = capsys.readouterr().out
    assert "\ncc: in force, for the user bob " in text
    assert "in force for 1 of the first 3 users of this machine; not for anna, carol\n" in text
    monkeypatch.setattr(_recipe_machine, "ordinary_users", lambda: people[1:2] * 2)
    assert check("maildrop") == 0
    assert "ok   in force for 1 of the first 1 users" in capsys.readouterr().out
    # Who is named is looked at alone.
    assert check("maildrop", "--user", ME.pw_name) == 69


@pytest.mark.usefixtures("machine")
def test_what_is_described_only_cannot_be_looked_for(capsys: Printed) -> None:
    assert check("qmail") == 69
    assert "dot-qmail: there is nothing to look for" in capsys.readouterr().out


# --- completion -----------------------------------------------------------------------


def completed(
    function: Callable[..., list[CompletionItem]], begun: str, **params: str
) -> list[str]:
    context = click.Context(sender_recipe.command)
    context.params.update(params)
    items = function(context, None, begun)
    return [item.value for item in items]


def test_names_are_completed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert completed(complete_server, "dov") == ["dovecot-2.3", "dovecot-2.4"]
    assert completed(complete_way, "b", server="postfix") == ["bcc"]
    assert completed(complete_way, "", server="mmdf") == []
    assert completed(complete_way, "") == []
    people = [User("anna", "/home/anna"), User("bob", "/home/bob")]
    monkeypatch.setattr(_recipe_machine, "ordinary_users", lambda: people)
    assert completed(complete_user, "a") == ["anna"]
