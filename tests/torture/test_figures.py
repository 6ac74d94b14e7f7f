"""What a part of a torture reports, and when that is right."""

from torture.figures import Figure, Report, lines


def test_a_figure_is_right_if_it_is_what_it_must_be() -> None:
    assert Figure("sent", 3).is_right
    assert Figure("lost", 0, must_be=0).is_right
    assert not Figure("lost", 1, must_be=0).is_right


def test_a_report_is_right_without_failures_and_wrong_figures() -> None:
    right, wrong = Figure("lost", 0, must_be=0), Figure("lost", 2, must_be=0)
    assert Report("kills", (right,)).is_right
    assert not Report("kills", (right, wrong)).is_right
    assert not Report("kills", (right,), ("seed 7: one was lost",)).is_right


def test_its_lines_say_all() -> None:
    figures = (Figure("sent", 1500), Figure("p99", 4.25, "ms"), Figure("lost", 2, must_be=0))
    assert lines(Report("floods", figures, ("seed 7",))) == [
        "         1,500      sent",
        "          4.25 ms   p99",
        "             2      lost  WRONG: must be 0",
        "FAILED: seed 7",
    ]


def test_what_was_not_run_says_why() -> None:
    assert lines(Report("floods", skipped="needs root")) == ["floods was not run: needs root"]
