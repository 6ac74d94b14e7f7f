"""Lines that a file gets: which are missing, which must not be there, and what it then holds."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailbell.recipes.steps import CommandStep, FileStep

FORWARD = FileStep(why="x", path="/f", lines=("\\anna", '"|hook"'))

_LINES = st.lists(st.sampled_from(["a", "b", "c", "  a ", "", "}", "{"]), max_size=6)


def test_lines_that_are_there_in_their_order_are_not_missing() -> None:
    assert FORWARD.missing('# mine\n\\anna\n\n  "|hook"\n# more\n') == ()
    assert FORWARD.text == '\\anna\n"|hook"\n'


@pytest.mark.parametrize(
    ("text", "missing"),
    [
        ("", FORWARD.lines),
        ("\\anna\n", ('"|hook"',)),
        # Sendmail and Postfix then ring before the mail is in the mailbox.
        ('"|hook"\n\\anna\n', ('"|hook"',)),
        ('\\anna, "|hook"\n', FORWARD.lines),
    ],
)
def test_lines_that_are_missing_or_in_another_order_are_told(
    text: str, missing: tuple[str, ...]
) -> None:
    assert FORWARD.missing(text) == missing


def test_lines_are_put_at_the_end_or_below_a_line() -> None:
    assert FORWARD.applied("# mine") == '# mine\n\\anna\n"|hook"\n'
    below = FileStep(why="x", path="/f", lines=("b",), below="[listen]")
    assert below.applied("a\n [listen]\nc\n[listen]\n") == "a\n [listen]\nb\nc\n[listen]\n"
    assert below.applied("a\n") == "a\n[listen]\nb\n"


@pytest.mark.parametrize(
    ("text", "missing"),
    [
        ("begin\nmail:\n  driver = x\n# note\n\n  shadow = bell\n", ()),
        ("mail:\n  shadow = bell\nother:\n", ()),
        ("other:\n  shadow = bell\nmail:\n  driver = x\n", ("  shadow = bell",)),
        ("mail:\n  driver = x\nother:\n  shadow = bell\n", ("  shadow = bell",)),
        ("other:\n  shadow = bell\n", ("mail:", "  shadow = bell")),
        ("", ("mail:", "  shadow = bell")),
    ],
)
def test_lines_of_a_block_count_in_this_block_only(text: str, missing: tuple[str, ...]) -> None:
    step = FileStep(why="x", path="/f", lines=("  shadow = bell",), below="mail:")
    assert step.missing(text) == missing


def test_lines_that_are_no_block_count_anywhere_below_their_line() -> None:
    step = FileStep(why="x", path="/f", lines=("bell:", "  driver = pipe"), below="begin")
    assert step.missing("begin\nother:\n  driver = x\nbell:\n  driver = pipe\n") == ()
    assert step.missing("bell:\n  driver = pipe\nbegin\n") == step.lines


@pytest.mark.parametrize(
    ("text", "later"),
    [
        ("TRAP='ring'\nDROP=1\nTRAP='ring'\n", ""),
        ("TRAP=''\nTRAP='ring'\n:0\nMYTRAP=''\n# TRAP=\n", ""),
        ("TRAP='ring'\n:0\n  TRAP = ''\n", "TRAP = ''"),
        ("TRAP='ring'\nTRAP\n", "TRAP"),
        ("TRAP='ring'\nTRAP=''\nTRAP='ring'\nTRAP='other'\n", "TRAP='other'"),
    ],
)
def test_a_later_line_that_gives_a_variable_another_value_is_found(text: str, later: str) -> None:
    step = FileStep(why="x", path="/f", lines=("TRAP='ring'",))
    assert step.overridden(text) == later


def test_what_is_no_variable_of_a_shell_is_not_overridden() -> None:
    step = FileStep(why="x", path="/f", lines=("  driver = lua", ":0"))
    assert step.overridden("  driver = lua\n  driver = pipe\n:0\n") == ""


@pytest.mark.parametrize(
    ("output", "seen"),
    [
        ("1\n", True),
        ("10\n", False),
        ("a = 1\n", True),
        ("2, 1,3\n", True),
        ("sh -c {1} x\n", True),
        ("x1 1x -1 1:2\n", False),
        ("", False),
    ],
)
def test_what_a_command_shows_are_whole_words(output: str, seen: bool) -> None:
    step = CommandStep(why="x", command=("set",), shows=("get",), expect="1")
    assert step.seen_in(output) is seen


def test_words_that_are_shown_stand_on_one_line() -> None:
    step = CommandStep(why="x", command=("set",), shows=("get",), expect="shadow = bell")
    assert step.seen_in("x\n  shadow = bell\n")
    for other in ("shadow = bell_virtual", "no_shadow = bell", "shadow =\nbell"):
        assert not step.seen_in(other)


def test_lines_that_must_not_be_there_are_taken_out() -> None:
    step = FileStep(why="x", path="/f", lines=("b",), without=("a", "z"))
    assert step.unwanted("  a\nb\n") == ("a",)
    assert step.applied("a\nb\n") == "b\n"
    assert step.applied("c\na\n") == "c\nb\n"


@given(lines=_LINES, before=_LINES, without=_LINES, below=st.sampled_from(["", "c"]))
def test_a_step_that_was_applied_is_in_force_and_changes_nothing_more(
    lines: list[str], before: list[str], without: list[str], below: str
) -> None:
    wanted = {line.strip() for line in (*lines, below)}
    rest = tuple(line for line in without if line.strip() not in wanted)
    step = FileStep(why="x", path="/f", lines=tuple(lines), below=below, without=rest)
    after = step.applied("\n".join(before))
    assert (step.missing(after), step.unwanted(after)) == ((), ())
    assert step.applied(after) == after
    kept = {line.strip() for line in before} - {line.strip() for line in rest}
    assert kept - {""} <= {line.strip() for line in after.splitlines()}
