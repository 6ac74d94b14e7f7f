"""`mailbell sender recipe --check`: what is in force, what is not, and what a way needs besides."""

import os
import socket
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

import pytest

from mailbell._sys.trusted_path import Weakness, find_weaknesses
from mailbell.cli import _recipe_check
from mailbell.cli._finding import Finding, Mark
from mailbell.cli._recipe_check import Machine, State, examine
from mailbell.recipes.facts import Facts
from mailbell.recipes.recipe import Way, parse
from mailbell.recipes.state import Answer
from mailbell.recipes.steps import FileStep
from mailbell.sender.configuration import parse as parse_sender

_USER = os.geteuid()

HEAD = """
name = "x"
title = "Server"
summary = "It rings well."
verified = "Debian 12"
[[way]]
name = "one"
title = "The first one"
tells = "mail"
suits = "all users"
order = "after"
fails = "x"
hangs = "x"
"""
LINES = """
[[way.step]]
why = "It does."
file = "@home@/.forward"
text = '''
"|@hook@ --account=@user@"
'''
"""
FILES = LINES.replace("@hook@", "@files@/mailbell-mda")
SOCKET = LINES.replace("@hook@", "@socket@")
CYRUS = LINES.replace("@hook@", "@cyrus@")
COMMAND = """
[[way.step]]
why = "It does."
command = ["true"]
shows = ["echo", "yes"]
expect = "yes"
[[way.step]]
why = "It cannot be seen."
command = ["true"]
"""
CHECK = """
[[way.check]]
command = ["echo", "procmail"]
forbid = "procmail"
say = "It is procmail: use the recipe procmail"
"""


def way(*parts: str) -> Way:
    return parse("".join((HEAD, *parts)).encode()).ways[0]


@pytest.fixture
def here(open_path: Path) -> Iterator[Machine]:
    """Yield a machine on which all is well for the user anna, who has set it up."""
    home = open_path / "anna"
    home.mkdir()
    files = open_path / "servers"
    files.mkdir()
    for program in (open_path / "mailbell-hook", files / "mailbell-mda"):
        program.write_text("#!/bin/sh\n")
        program.chmod(0o755)
    facts = Facts(
        hook=str(open_path / "mailbell-hook"),
        socket=str(open_path / "hook"),
        cyrus=str(open_path / "cyrus"),
        files=str(files),
        user="anna",
        home=str(home),
    )
    sockets = [socket.socket(socket.AF_UNIX) for _ in range(2)]
    for listening, path in zip(sockets, (facts.socket, facts.cyrus), strict=True):
        listening.bind(path)
        os.chmod(path, 0o666)
    yield Machine(facts, parse_sender(f'[listen]\nhook = "{facts.socket}"\n'.encode()))
    for listening in sockets:
        listening.close()


@pytest.fixture(autouse=True)
def _own_place(here: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """The hook looks at the test's own socket."""
    monkeypatch.setattr(_recipe_check, "_HOOKS_PLACE", here.facts.socket)


@pytest.fixture(autouse=True)
def _own_folders(monkeypatch: pytest.MonkeyPatch) -> None:
    """The folders of the test are trusted, whoever runs it."""

    def find(
        path: str, trusted: Collection[int] = (), *, whole: bool = False
    ) -> tuple[Weakness, ...]:
        return ()

    monkeypatch.setattr(_recipe_check, "find_weaknesses", find)


@pytest.fixture
def forward(here: Machine) -> Callable[[Way], State]:
    """Write the lines of the steps into their files, then look."""

    def written(way: Way) -> State:
        for step in way.steps(here.facts):
            if isinstance(step, FileStep):
                Path(step.path).write_text(step.text)
        return examine(way, here)

    return written


def fails(state: State) -> list[str]:
    return [one.what for one in state.more if one.mark is Mark.FAIL]


@pytest.mark.parametrize("step", [LINES, FILES, SOCKET, CYRUS, COMMAND])
def test_what_is_in_force_needs_nothing(step: str, forward: Callable[[Way], State]) -> None:
    state = forward(way(step))
    assert (state.answer, fails(state), state.whole) == (Answer.YES, [], True)


def test_what_is_not_there_is_not_in_force_and_needs_nothing_else(here: Machine) -> None:
    state = examine(way(LINES), here)
    path = f"{here.facts.home}/.forward"
    remedy = f"make it as anna: runuser -u anna -- tee -a {path}"
    finding = Finding(Mark.FAIL, f"there is no {path}", remedy)
    assert state == State(Answer.NO, (finding,), ())
    assert not state.whole


def test_what_no_command_can_show_cannot_be_told(here: Machine) -> None:
    silent = COMMAND.replace('shows = ["echo", "yes"]\nexpect = "yes"\n', "")
    assert examine(way(silent), here) == State(Answer.UNKNOWN, (), ())
    gone = COMMAND.replace('"echo", "yes"', '"no-such-program"')
    state = examine(way(gone), here)
    assert state.answer is Answer.UNKNOWN
    assert state.steps[0].what == "no-such-program: there is no no-such-program"
    # Part of it is in force: then what it needs is of use.
    assert examine(way(COMMAND, gone, CHECK), here).more != ()


def test_a_trap_is_found_and_a_check_that_cannot_be_run_is_told(
    forward: Callable[[Way], State],
) -> None:
    state = forward(way(LINES, CHECK))
    assert fails(state) == ["It is procmail: use the recipe procmail"]
    assert (state.answer, state.whole) == (Answer.YES, False)
    assert forward(way(LINES, CHECK.replace('"echo", "procmail"', '"echo"'))).whole
    unknown = forward(way(LINES, CHECK.replace('"echo", "procmail"', '"no-such-program"')))
    assert unknown.more[0] == Finding(Mark.WARN, "no-such-program: there is no no-such-program")
    assert (unknown.answer, unknown.whole) == (Answer.UNKNOWN, False)
    # What is known to be wrong counts more.
    gone = CHECK.replace('"echo", "procmail"', '"no-such-program"')
    both = forward(way(LINES, CHECK, gone))
    assert (both.answer, both.whole) == (Answer.YES, False)


def test_a_command_that_fails_is_no_proof_that_a_trap_is_absent(
    forward: Callable[[Way], State],
) -> None:
    state = forward(way(LINES, CHECK.replace('"echo", "procmail"', '"cat", "/no/such/file"')))
    assert "cat: /no/such/file: No such file" in state.more[0].what
    assert (state.answer, state.whole) == (Answer.UNKNOWN, False)


@pytest.mark.parametrize("step", [LINES, FILES])
def test_a_program_that_users_cannot_execute_is_found(
    step: str, here: Machine, forward: Callable[[Way], State]
) -> None:
    one = way(step)
    path = Path(here.facts.hook if step is LINES else f"{here.facts.files}/mailbell-mda")
    path.chmod(0o750)
    state = forward(one)
    assert fails(state) == [f"other users may not use {path}"]
    assert state.more[0].remedy == f"chmod 755 {path}"
    path.chmod(0o777)
    assert fails(forward(one)) == [f"other users may write {path}, which every delivery executes"]
    path.unlink()
    assert fails(forward(one)) == [f"{path}: no such file or directory"]
    path.mkdir()
    assert fails(forward(one)) == [f"{path} is no regular file"]


def test_a_file_that_is_no_script_need_not_be_executable(
    here: Machine, forward: Callable[[Way], State]
) -> None:
    path = Path(here.facts.files, "mailbell-mda")
    path.write_text("local unix = require 'socket.unix'\n")
    path.chmod(0o644)
    assert forward(way(FILES)).whole
    path.chmod(0o640)
    assert forward(way(FILES)).more[0].remedy == f"chmod 644 {path}"


def test_a_folder_that_users_cannot_enter_is_found(
    here: Machine, forward: Callable[[Way], State]
) -> None:
    folder = Path(here.facts.files)
    folder.chmod(0o750)
    state = forward(way(FILES))
    assert fails(state) == [f"other users may not enter {folder}, where mailbell-mda is"]


def test_who_could_replace_the_hook_is_told(
    forward: Callable[[Way], State], monkeypatch: pytest.MonkeyPatch, here: Machine
) -> None:
    weak = Weakness("/opt", 1000)
    monkeypatch.setattr(_recipe_check, "find_weaknesses", lambda *_, **__: (weak,))
    state = forward(way(LINES))
    what = f"/opt belongs to user 1000, who could replace {here.facts.hook}"
    assert Finding(Mark.WARN, what, weak.remedy) in state.more

    def gone(*_: object, **__: object) -> None:
        raise FileNotFoundError

    monkeypatch.setattr(_recipe_check, "find_weaknesses", gone)
    assert forward(way(LINES)).whole


@pytest.mark.parametrize("step", [LINES, FILES, SOCKET, CYRUS])
def test_a_socket_that_is_missing_or_none_is_found(
    step: str, here: Machine, forward: Callable[[Way], State]
) -> None:
    path = Path(here.facts.cyrus if step is CYRUS else here.facts.socket)
    path.unlink()
    state = forward(way(step))
    assert fails(state) == [f"{path}: no such file or directory, so nobody is rung"]
    path.touch()
    assert fails(forward(way(step))) == [f"{path} is no socket"]


def test_the_hooks_socket_must_be_open_to_all(
    here: Machine, forward: Callable[[Way], State]
) -> None:
    os.chmod(here.facts.socket, 0o660)
    assert fails(forward(way(LINES))) == [f"other users may not write to {here.facts.socket}"]


@pytest.mark.parametrize("step", [LINES, FILES])
def test_a_hook_that_looks_at_another_socket_rings_nobody(
    step: str,
    here: Machine,
    forward: Callable[[Way], State],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A line with --socket is another line than that of the recipe, and not in force."""
    monkeypatch.setattr(_recipe_check, "_HOOKS_PLACE", "/run/mailbell-sender/hook")
    state = forward(way(step))
    what = f"listen.hook is {here.facts.socket}, and the hook looks at /run/mailbell-sender/hook"
    assert fails(state) == [what]
    assert not state.whole
    assert forward(way(SOCKET)).whole


def test_whom_the_sender_must_trust_is_compared(
    here: Machine, forward: Callable[[Way], State]
) -> None:
    one = way('trusted = ["root", "vmail"]', LINES)
    assert fails(forward(one)) == ["listen.trusted does not name vmail"]
    trusting = Machine(here.facts, parse_sender(b'[listen]\ntrusted = ["vmail", "root", "x"]\n'))
    assert examine(one, trusting).more[-1].what == "listen.trusted names root and vmail"
    unknown = examine(one, Machine(here.facts, None, "may not be read"))
    assert unknown.more[-1] == Finding(Mark.WARN, "may not be read", "run: mailbell sender check")
    assert (unknown.answer, unknown.whole) == (Answer.UNKNOWN, False)


SENDER = """
[[way.step]]
why = "It does."
file = "/etc/mailbell/sender.toml"
below = "[listen]"
text = '''
comsat = ["127.0.0.1:512"]
cyrus = "@cyrus@"
'''
"""


@pytest.mark.parametrize(
    ("keys", "answer"),
    [
        ('comsat = ["[::1]:512", "127.0.0.1:512"]\ncyrus = "@"', Answer.YES),
        ('comsat = ["[::1]:512"]\ncyrus = "@"', Answer.NO),
        ('comsat = ["127.0.0.1:512"]\ncyrus = "/run/other"', Answer.NO),
    ],
)
def test_keys_of_the_sender_count_by_what_they_mean(
    keys: str, answer: Answer, here: Machine
) -> None:
    text = f"[listen]\n{keys.replace('@', here.facts.cyrus)}"
    machine = Machine(here.facts, parse_sender(text.encode()))
    assert examine(way(SENDER), machine).answer is answer


def test_keys_of_the_sender_that_cannot_be_read_cannot_be_told(here: Machine) -> None:
    state = examine(way(SENDER), Machine(here.facts, None, "may not be read"))
    assert (state.answer, state.steps[0].what) == (Answer.UNKNOWN, "may not be read")
    other = way(SENDER.replace('comsat = ["127.0.0.1:512"]', "[quiet]\nfolders = []"))
    assert examine(other, here).answer is not Answer.YES


def test_the_way_to_the_hook_is_looked_at(here: Machine) -> None:
    """The stand-in above has the signature of the real function."""
    assert isinstance(find_weaknesses(here.facts.hook, {_USER}, whole=True), tuple)
