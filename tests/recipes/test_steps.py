"""Lines that a file gets: which are missing, which must not be there, and what it then holds."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailbell.recipes.steps import FileStep

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
    assert below.applied("a\n") == "a\nb\n"


def test_lines_that_must_not_be_there_are_taken_out() -> None:
    step = FileStep(why="x", path="/f", lines=("b",), without=("a", "z"))
    assert step.unwanted("  a\nb\n") == ("a",)
    assert step.applied("a\nb\n") == "b\n"
    assert step.applied("c\na\n") == "c\nb\n"


@given(lines=_LINES, before=_LINES, without=_LINES, below=st.sampled_from(["", "c"]))
def test_a_step_that_was_applied_is_in_force_and_changes_nothing_more(
    lines: list[str], before: list[str], without: list[str], below: str
) -> None:
    rest = tuple(line for line in without if line.strip() not in {each.strip() for each in lines})
    step = FileStep(why="x", path="/f", lines=tuple(lines), below=below, without=rest)
    after = step.applied("\n".join(before))
    assert (step.missing(after), step.unwanted(after)) == ((), ())
    assert step.applied(after) == after
    kept = {line.strip() for line in before} - {line.strip() for line in rest}
    assert kept - {""} <= {line.strip() for line in after.splitlines()}
