"""What a node says of itself."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailbell.cluster.report import HOST, NAME_FORM, Report, is_name

REPORTS = st.builds(
    Report,
    st.text("0123456789abcdef", min_size=16, max_size=16),
    st.integers(0, 10**12),
    st.integers(0, 10**12),
    st.integers(0, 10**9).map(lambda number: number / 1000),
)


@given(REPORTS)
def test_what_is_written_can_be_read(report: Report) -> None:
    assert Report.parse(str(report)) == report


@given(st.text(max_size=60) | st.none())
def test_anything_else_is_no_report(text: str | None) -> None:
    found = Report.parse(text)
    assert found is None or Report.parse(str(found)) == found


def test_a_lag_has_an_end() -> None:
    long = Report.parse(str(Report("0" * 16, 0, 0, 1e30)))
    assert long is not None
    assert long.lag == 1e9 - 1


@pytest.mark.parametrize("name", ["a", "mx1", "mx-1.example.net", "A_b", "x" * 64])
def test_a_name(name: str) -> None:
    assert is_name(name)


@pytest.mark.parametrize("name", ["", "-a", "a-", ".", "a b", "a\n", "ä", "x" * 65, "a/b"])
def test_no_name(name: str) -> None:
    assert not is_name(name)


def test_a_new_run_has_done_nothing_yet() -> None:
    assert Report("0" * 16) == Report("0" * 16, 0, 0, 0.0)


def test_the_first_half_of_the_number_is_the_host() -> None:
    report = Report("0123456789abcdef")
    assert HOST == 8
    assert report.is_of_host("01234567ffffffff")
    assert not report.is_of_host("01234560" + "89abcdef")


def test_the_form_of_a_name_in_words() -> None:
    assert NAME_FORM == "1 to 64 letters, digits, dots, hyphens or underscores"
