"""Whether a step is in force, judged from what was seen."""

import pytest

from mailbell.recipes.state import Answer, File, Verdict, in_force, judge_command, judge_file
from mailbell.recipes.steps import CommandStep, FileStep

STEP = FileStep(why="x", path="/f", lines=("a", "b"), without=("z",), owner="anna", mode=0o644)
GOOD = File(text="a\nb\n", owner="anna", mode=0o644)
TAKEN_OUT = FileStep(why="x", path="/f", without=("z",))


@pytest.mark.parametrize(
    ("file", "answer", "what", "remedy"),
    [
        (GOOD, Answer.YES, "/f has what it needs", ""),
        (File(lack="no", missing=True), Answer.NO, "there is no /f", "make it, with its lines"),
        (File(lack="denied"), Answer.UNKNOWN, "/f: denied", "be root, or its owner"),
        (File(text="a\n"), Answer.NO, "/f lacks the line: b", "add it"),
        (File(text="a\nb\nz\n"), Answer.NO, "/f has the line: z", "take it out"),
        (File(text="a\nb", owner="bob"), Answer.NO, "/f belongs to bob", "chown anna /f"),
        (
            File(text="a\nb", owner="anna", mode=0o600),
            Answer.NO,
            "/f has the mode 0600",
            "chmod 0644 /f",
        ),
    ],
)
def test_a_file_is_judged_with_its_remedy(
    file: File, answer: Answer, what: str, remedy: str
) -> None:
    assert judge_file(STEP, file) == Verdict(answer, what, remedy)


def test_a_file_that_must_not_have_a_line_need_not_be_there() -> None:
    verdict = judge_file(TAKEN_OUT, File(lack="no", missing=True))
    assert verdict == Verdict(Answer.YES, "there is no /f")


def test_owner_and_mode_count_only_if_the_step_names_them() -> None:
    step = FileStep(why="x", path="/f", lines=("a",))
    assert judge_file(step, File(text="a", owner="bob", mode=0)).answer is Answer.YES


def test_a_long_line_is_cut() -> None:
    step = FileStep(why="x", path="/f", lines=("a" * 5000,))
    assert len(judge_file(step, File(text="")).what) < 150


def test_a_command_is_judged_by_what_another_one_shows() -> None:
    step = CommandStep(why="x", command=("set", "a b"), shows=("get", "a"), expect="b")
    assert judge_command(step, "a = b\n") == Verdict(Answer.YES, "get a: b")
    expected = Verdict(Answer.NO, "get a does not say: b", "set 'a b'")
    assert judge_command(step, "a = c\n") == expected
    assert judge_command(step, None, "there is no get") == Verdict(
        Answer.UNKNOWN, "get a: there is no get"
    )
    assert judge_command(CommandStep(why="x", command=("reload",)), None) is None


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        ([], Answer.UNKNOWN),
        ([Answer.YES, Answer.YES], Answer.YES),
        ([Answer.YES, Answer.UNKNOWN], Answer.UNKNOWN),
        ([Answer.YES, Answer.UNKNOWN, Answer.NO], Answer.NO),
    ],
)
def test_a_way_is_in_force_if_all_that_can_be_seen_is(
    answers: list[Answer], expected: Answer
) -> None:
    assert in_force(Verdict(answer, "x") for answer in answers) is expected
