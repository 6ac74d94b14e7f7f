"""A recipe is read strictly, and every mistake in it is told at once, with its path."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailbell.core.errors import ConfigurationError, UsageError
from mailbell.recipes import load, names
from mailbell.recipes.facts import Facts
from mailbell.recipes.recipe import Recipe, Way, parse
from mailbell.recipes.steps import CommandStep, FileStep

FACTS = Facts(hook="/h", socket="/s", cyrus="/c", files="/f", user="u.v", home="/home/u")
HEAD = """
name = "exim"
title = "Exim"
summary = "It rings well."
verified = "Debian 12, Exim 4.96"
"""
WAY = """
[[way]]
name = "event"
title = "An event"
tells = "mail"
suits = "all users"
order = "after"
fails = "The mail is delivered."
hangs = "The mail waits."
"""
FILE = """
[[way.step]]
why = "It does."
file = "@home@/x"
text = '''
one @user@
two
'''
below = "[@files@]"
without = "three @user@"
owner = "@user@"
mode = "0600"
undo = ["rm", "@socket@"]
"""
COMMAND = """
[[way.step]]
why = "It does."
command = ["set", "@hook@"]
replaces = ["old", "@hook@"]
undo = ["unset", "@cyrus@"]
shows = ["get", "@hook@"]
expect = "@hook@"
"""
CHECK = """
[[way.check]]
command = ["get", "@hook@"]
forbid = "^@user@$"
say = "It is @user@."
"""


def recipe(*parts: str) -> Recipe:
    return parse("".join((HEAD, WAY, *parts)).encode())


def problems(text: str) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        parse(text.encode())
    assert all(str(problem).isprintable() for problem in caught.value.problems)
    return [str(problem) for problem in caught.value.problems]


def test_the_steps_have_the_facts_of_the_machine() -> None:
    read = recipe(FILE, COMMAND, CHECK)
    way = read.way("event")
    assert way.steps(FACTS) == (
        FileStep(
            why="It does.",
            path="/home/u/x",
            lines=("one u.v", "two"),
            below="[/f]",
            without=("three u.v",),
            owner="u.v",
            mode=0o600,
            undo=("rm", "/s"),
            by="u.v",
        ),
        CommandStep(
            why="It does.",
            command=("set", "/h"),
            replaces=("old", "/h"),
            undo=("unset", "/c"),
            shows=("get", "/h"),
            expect="/h",
        ),
    )
    assert way.uses == {"home", "user", "files", "socket", "hook", "cyrus"}
    assert (way.for_each_user, read.tried) == (True, True)
    assert not recipe(COMMAND).ways[0].for_each_user


def test_a_step_may_only_take_lines_out() -> None:
    (step,) = (
        recipe('[[way.step]]\nwhy = "It does."\nfile = "/x"\nwithout = "old"').ways[0].steps(FACTS)
    )
    assert step == FileStep(why="It does.", path="/x", without=("old",))


@pytest.mark.parametrize("line", ["  ", "X"])
def test_nothing_of_a_line_is_taken_away(line: str) -> None:
    (step,) = recipe(FILE.replace("one @user@\ntwo", line)).ways[0].steps(FACTS)
    assert isinstance(step, FileStep)
    assert step.lines == (line,)


def test_what_is_said_of_a_server_arrives() -> None:
    read = parse((HEAD + 'packages = ["exim4"]\nreason = "None."' + WAY + COMMAND).encode())
    assert (read.name, read.title, read.summary) == ("exim", "Exim", "It rings well.")
    assert (read.verified, read.reason) == ("Debian 12, Exim 4.96", "None.")
    assert read.packages == ("exim4",)


def test_what_is_left_out_is_nothing() -> None:
    way = 'name = "x"\ntitle = "A way"\ntells = "logins"\nsuits = "all users"\ntext = "It is."'
    read = parse(f"{HEAD}[[way]]\n{way}".encode())
    assert (read.reason, read.packages) == ("", ())
    assert read.ways == (
        Way(
            name="x", title="A way", tells="logins", suits="all users", text="It is.",
            order="", packages=(), trusted=(), fails="", hangs="", traps=(), step=(), check=(),
        ),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("parts", "uses", "for_each_user"),
    [
        ((COMMAND,), {"hook", "cyrus"}, False),
        ((COMMAND, CHECK), {"hook", "cyrus", "user"}, True),
        (('[[way.step]]\nwhy = "It does."\nfile = "@home@/x"\ntext = "x"',), {"home"}, True),
    ],
)
def test_the_steps_and_the_checks_say_whether_they_are_for_each_user(
    parts: tuple[str, ...], uses: set[str], for_each_user: bool
) -> None:
    way = recipe(*parts).ways[0]
    assert (set(way.uses), way.for_each_user) == (uses, for_each_user)


def test_nothing_of_a_recipe_can_be_changed() -> None:
    way = recipe(FILE, COMMAND, CHECK).ways[0]
    for part in (way, *way.step, *way.check):
        with pytest.raises(AttributeError):
            setattr(part, part.__struct_fields__[0], "x")


def test_a_check_is_a_pattern_in_which_a_fact_means_itself() -> None:
    (check,) = recipe(COMMAND, CHECK).ways[0].checks(FACTS)
    assert (check.command, check.say) == (("get", "/h"), "It is u.v.")
    assert not check.holds("u.v")
    assert check.holds("uxv")
    (wants,) = recipe(COMMAND, CHECK.replace("forbid", "expect")).ways[0].checks(FACTS)
    assert wants.holds("u.v")
    assert not wants.holds("")


def test_a_way_of_another_name_is_refused_with_the_names() -> None:
    with pytest.raises(UsageError, match=r"'pipe\\n' is no way of Exim; the ways are: event"):
        recipe(COMMAND).way("pipe\n")
    with pytest.raises(UsageError, match=rf"^'{'x' * 80}' is .*; the ways are: event, other$"):
        recipe(COMMAND, WAY.replace("event", "other"), COMMAND).way("x" * 81)


WRONG = [
    (HEAD, "way: missing"),
    (HEAD + "way = []", "way: an array of 0 is not accepted"),
    (HEAD.replace("Debian 12, Exim 4.96", "not tried here") + WAY + COMMAND, "reason: missing"),
    (HEAD + WAY, "way[0]: says nothing"),
    (HEAD + WAY + COMMAND + WAY + COMMAND, 'way[1].name: "event" is used twice'),
    (HEAD + WAY.replace('order = "after"\n', "") + COMMAND, "way[0].order: missing"),
    (HEAD + WAY.replace('"mail"', '"logins"') + COMMAND, "way[0].order: logins have no order"),
    (HEAD + WAY.replace("The mail waits.", "") + COMMAND, "way[0].hangs: missing"),
    (HEAD + WAY.replace("The mail is delivered.", "@bell@") + COMMAND, 'fails: "@bell@" is no'),
    (HEAD + WAY + 'traps = ["It is @bell@."]' + COMMAND, 'way[0].traps[0]: "@bell@" is no'),
    (HEAD + WAY + '[[way.step]]\nwhy = "None."', "way[0].step[0]: needs either a file or a"),
    (HEAD + WAY + COMMAND + 'file = "/x"', "way[0].step[0]: needs either a file or a command"),
    (HEAD + WAY + COMMAND + 'owner = "root"', "way[0].step[0].owner: a step with a command has"),
    (
        HEAD + WAY + FILE + 'shows = ["x"]\nexpect = "x"',
        "way[0].step[0].shows: a step with a file has none",
    ),
    (HEAD + WAY + FILE + 'replaces = ["x"]', "way[0].step[0].replaces: a step with a file has"),
    (HEAD + WAY + COMMAND.replace('expect = "@hook@"', ""), "way[0].step[0].shows: goes with"),
    (HEAD + WAY + '[[way.step]]\nwhy = "It does."\nfile = "/x"', "way[0].step[0].text: missing"),
    (
        HEAD + WAY + FILE.replace("text = '''\none @user@\ntwo\n'''", ""),
        "way[0].step[0].below: nothing is put below it",
    ),
    (HEAD + WAY + FILE.replace('"@home@/x"', '"x"'), 'way[0].step[0].file: "x" is not accepted'),
    (
        HEAD + WAY + COMMAND + CHECK.replace('["get", "@hook@"]', "[]"),
        "way[0].check[0].command: missing",
    ),
    (HEAD + WAY + COMMAND + CHECK + 'expect = "x"', "way[0].check[0]: needs either expect or"),
    (HEAD + WAY + COMMAND + CHECK.replace("^@user@$", "("), "way[0].check[0].forbid: no regular"),
    (
        HEAD + WAY + COMMAND + CHECK.replace("^@user@$", f"a{{{10**11}}}"),
        "way[0].check[0].forbid: no regular",
    ),
    (
        HEAD + WAY + COMMAND + CHECK.replace("^@user@$", "(" * 490 + ")" * 490),
        "way[0].check[0].forbid: no regular",
    ),
    (HEAD + WAY + COMMAND + CHECK.replace("is @user@", "@bell@"), 'way[0].check[0].say: "@bell'),
    (HEAD + WAY + COMMAND.replace('["set", "@hook@"]', '["@bell@"]'), 'step[0].command[0]: "@b'),
    (
        HEAD + "".join(WAY.replace("event", name) + COMMAND for name in ("a", "b", "a")),
        'way[2].name: "a" is used twice',
    ),
    *(
        (HEAD + WAY + COMMAND.replace(f"{key} = [", f'{key} = ["@bell@", '), f"step[0].{key}[0]: ")
        for key in ("replaces", "undo", "shows")
    ),
    (HEAD + "colour = 1" + WAY + COMMAND, "colour: unknown key"),
    (HEAD + WAY + "colour = 1" + COMMAND, "way[0].colour: unknown key"),
    (HEAD + WAY + COMMAND + CHECK + "colour = 1", "way[0].check[0].colour: unknown key"),
    (HEAD + WAY + COMMAND + "colour = 1", "way[0].step[0].colour: unknown key"),
]


def test_of_what_is_wrong_with_a_pattern_only_so_much_is_shown() -> None:
    pattern = f"(?P<{'-' * 100}>)"
    (problem,) = problems(HEAD + WAY + COMMAND + CHECK.replace("^@user@$", pattern))
    shown = f"bad character in group name '{'-' * 100}"[:80]
    assert problem == f'way[0].check[0].forbid: no regular expression: "{shown}"...'


@pytest.mark.parametrize(("text", "problem"), WRONG, ids=[problem for _, problem in WRONG])
def test_a_mistake_is_told_with_its_path(text: str, problem: str) -> None:
    assert problem in problems(text)[0]


def test_of_a_step_that_is_both_only_that_is_told() -> None:
    assert problems(HEAD + WAY + COMMAND + 'file = "/x"') == [
        "way[0].step[0]: needs either a file or a command"
    ]


def test_what_is_no_placeholder_is_told_with_those_that_are() -> None:
    known = "@hook@, @socket@, @cyrus@, @files@, @user@, @home@"
    assert problems(HEAD + WAY.replace("The mail waits", "@bell@") + COMMAND) == [
        f'way[0].hangs: "@bell@" is no placeholder: they are {known}'
    ]


def test_all_mistakes_are_told_at_once_also_where_nothing_can_be_read() -> None:
    told = problems(
        "name = 1\nway = [{name = 2, step = 3, check = 4, order = 5}, 6, {step = [7, {file = 8}]},"
        '{check = [{expect = 9, forbid = "("}, {command = 10, forbid = "("}]}]'
    )
    paths = {line.partition(":")[0] for line in told}
    assert "way[3].check[0].expect" in paths
    assert {"name", "title", "way[0].name", "way[0].step", "way[0].order", "way[1]"} <= paths
    assert {"way[2].step[0]", "way[2].step[1].file", "way[3].check[0].forbid"} <= paths
    assert {"way[3].check[1].command", "way[3].check[1].forbid"} <= paths


def test_the_docstring_names_every_key() -> None:
    import mailbell.recipes.recipe as module

    text = module.__doc__ or ""
    structures = (module._File, module.Way, module.Step, module.Check)
    for name in (name for structure in structures for name in structure.__struct_fields__):
        assert f"    {name} = " in text or f"[[way.{name}]]" in text or f"[[{name}]]" in text, name


_KEYS = ("name", "title", "tells", "way", "step", "check", "file", "command", "expect", "@user@")
_VALUES = st.recursive(
    st.sampled_from(['""', '"@user@"', '"/x"', "1", "true", '"mail"', '["x"]', '"("']),
    lambda inner: (
        st.lists(inner, max_size=3).map(lambda each: f"[{', '.join(each)}]")
        | st.dictionaries(
            st.sampled_from(_KEYS).map(lambda key: f'"{key}"'), inner, max_size=4
        ).map(
            lambda table: "{" + ", ".join(f"{key} = {value}" for key, value in table.items()) + "}"
        )
    ),
    max_leaves=12,
)


@given(st.dictionaries(st.sampled_from(_KEYS), _VALUES, max_size=5))
def test_whatever_a_recipe_says_it_is_read_or_refused_in_words(table: dict[str, str]) -> None:
    text = HEAD + "".join(f'"{key}" = {value}\n' for key, value in table.items())
    with suppress(ConfigurationError):
        parse(text.encode())
        return
    assert problems(text)


def test_an_unknown_server_gets_the_names_that_may_be_meant() -> None:
    for asked in ("Dovecot", "dovecot"):
        with pytest.raises(
            UsageError, match=r"perhaps dovecot-2\.3 or dovecot-2\.4; all: .*postfix"
        ):
            load(asked)
    with pytest.raises(UsageError, match="perhaps postfix; all: "):
        load("potsfix")
    with pytest.raises(UsageError, match=r"there is no recipe for ''; "):
        load("")
    with pytest.raises(UsageError, match=r"'\.\./x\\n'"):
        load("../x\n")
    assert names() == tuple(sorted(names()))
