"""Whether a step is in force, judged from what was seen."""

import pytest

from mailbell.recipes.recipe import Check
from mailbell.recipes.state import (
    Answer,
    File,
    Printed,
    Verdict,
    in_force,
    judge_check,
    judge_command,
    judge_file,
)
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
        (File(text="a\nb", owner="bob"), Answer.NO, "/f belongs to bob", "chown -h anna /f"),
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


MINE = FileStep(
    why="x", path="/h/f", lines=("a",), without=("z",), owner="anna", mode=0o644, by="anna"
)
AS = "runuser -u anna --"


@pytest.mark.parametrize(
    ("file", "what", "remedy"),
    [
        (File(lack="no", missing=True), "there is no /h/f", f"make it as anna: {AS} tee -a /h/f"),
        (File(text=""), "/h/f lacks the line: a", f"add it as anna: {AS} tee -a /h/f"),
        (File(text="z\na"), "/h/f has the line: z", "take it out, as anna"),
        (
            File(lack="no", link=True),
            "/h/f is a link to a file that is missing",
            f"remove it: {AS} rm /h/f",
        ),
        (File(text="a", owner="bob"), "/h/f belongs to bob", "chown -h anna /h/f"),
        (
            File(text="a", owner="anna", mode=0o666),
            "/h/f has the mode 0666",
            f"{AS} chmod 0644 /h/f",
        ),
        (
            File(text="a", owner="anna", mode=0o200),
            "/h/f has the mode 0200",
            f"{AS} chmod 0644 /h/f",
        ),
    ],
)
def test_what_a_user_may_have_replaced_by_a_link_is_changed_as_this_user(
    file: File, what: str, remedy: str
) -> None:
    assert judge_file(MINE, file) == Verdict(Answer.NO, what, remedy)


def test_a_link_that_leads_nowhere_is_told_of_every_file() -> None:
    expected = Verdict(Answer.NO, "/f is a link to a file that is missing", "remove it: rm /f")
    assert judge_file(STEP, File(lack="no", link=True)) == expected


def test_a_user_may_keep_a_file_private() -> None:
    private = File(text="a", owner="anna", mode=0o600)
    assert judge_file(MINE, private).answer is Answer.YES


@pytest.mark.parametrize(
    ("mode", "answer"), [(0o755, Answer.YES), (0o700, Answer.YES), (0o655, Answer.NO)]
)
def test_a_program_of_a_user_must_be_one_for_this_user(mode: int, answer: Answer) -> None:
    step = FileStep(why="x", path="/h/f", lines=("a",), owner="anna", mode=0o755, by="anna")
    assert judge_file(step, File(text="a", owner="anna", mode=mode)).answer is answer


def test_a_variable_that_gets_another_value_later_is_not_in_force() -> None:
    step = FileStep(why="x", path="/f", lines=("TRAP='ring'",))
    verdict = judge_file(step, File(text="TRAP='ring'\nTRAP=''\n"))
    assert verdict == Verdict(Answer.NO, "/f has a later line: TRAP=''", "take it out")


def test_a_file_that_must_not_have_a_line_need_not_be_there() -> None:
    verdict = judge_file(TAKEN_OUT, File(lack="no", missing=True))
    assert verdict == Verdict(Answer.YES, "there is no /f")


def test_owner_and_mode_count_only_if_the_step_names_them() -> None:
    step = FileStep(why="x", path="/f", lines=("a",))
    assert judge_file(step, File(text="a", owner="bob", mode=0)).answer is Answer.YES


@pytest.mark.parametrize(
    ("line", "shown"), [("a" * 100, "a" * 100), ("a" * 101, "a" * 100 + "...")]
)
def test_a_long_line_is_cut(line: str, shown: str) -> None:
    step = FileStep(why="x", path="/f", lines=(line,))
    assert judge_file(step, File(text="")).what == f"/f lacks the line: {shown}"


def test_what_was_not_seen_is_nothing() -> None:
    nothing = File(text=None, lack="", missing=False, link=False, owner="", mode=0)
    assert (File(), Printed()) == (nothing, Printed(text=None, errors="", lack=""))


def test_a_command_is_judged_by_what_another_one_shows() -> None:
    step = CommandStep(why="x", command=("set", "a b"), shows=("get", "a"), expect="b")
    assert judge_command(step, Printed("a = b\n")) == Verdict(Answer.YES, "get a: b")
    expected = Verdict(Answer.NO, "get a does not say: b", "set 'a b'")
    assert judge_command(step, Printed("a = bc\n")) == expected
    assert judge_command(step, Printed("", errors="no b")) == expected
    assert judge_command(step, Printed(lack="there is no get")) == Verdict(
        Answer.UNKNOWN, "get a: there is no get"
    )
    assert judge_command(CommandStep(why="x", command=("reload",)), Printed()) is None


NEEDS = Check(command=("get", "a b"), expect="fine", say="It is wrong.")
FORBIDS = Check(command=("get", "a b"), forbid="bad", say="It is wrong.")
FINE = Verdict(Answer.YES, "get 'a b': as it must be")
WRONG = Verdict(Answer.NO, "It is wrong.")


@pytest.mark.parametrize(
    ("check", "printed", "expected"),
    [
        (NEEDS, Printed("fine"), FINE),
        (NEEDS, Printed("", errors="fine"), FINE),
        (NEEDS, Printed("no", errors="fine"), WRONG),
        (NEEDS, Printed(""), WRONG),
        (NEEDS, Printed(lack="gone"), Verdict(Answer.UNKNOWN, "get 'a b': gone")),
        (NEEDS, Printed("", errors="denied"), WRONG),
        (FORBIDS, Printed(""), FINE),
        (FORBIDS, Printed("good", errors="bad"), FINE),
        (FORBIDS, Printed("bad"), WRONG),
        (
            FORBIDS,
            Printed("", errors="\nget: denied\nmore"),
            Verdict(Answer.UNKNOWN, "get 'a b': get: denied"),
        ),
        (FORBIDS, Printed("", errors="\n"), FINE),
        (FORBIDS, Printed(lack="gone"), Verdict(Answer.UNKNOWN, "get 'a b': gone")),
    ],
)
def test_an_error_is_no_proof_that_something_is_absent(
    check: Check, printed: Printed, expected: Verdict
) -> None:
    assert judge_check(check, printed) == expected


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
