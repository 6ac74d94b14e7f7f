"""Rows fit every terminal, and lose no word."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from rich.cells import cell_len

from scripts.show.columns import Entry, Heading, Note, Row, Title, rows
from scripts.show.events import Side

TEXTS = st.text(
    st.characters(max_codepoint=0xFFFF, exclude_categories=("C", "Z", "M", "Sk")) | st.just(" "),
    max_size=120,
)
ROWS: st.SearchStrategy[Row] = (
    st.builds(Heading, TEXTS, TEXTS)
    | st.builds(Title, TEXTS)
    | st.builds(Note, TEXTS)
    | st.builds(Entry, st.sampled_from(Side), st.none() | st.floats(0, 9), TEXTS)
)


def shown(row: Row, width: int | None) -> list[str]:
    return ["".join(text for text, _ in line) for line in rows(row, width)]


def text_of(row: Row) -> str:
    return f"{row.server} {row.laptop}" if isinstance(row, Heading) else row.text


@given(ROWS, st.integers(1, 30) | st.integers(1, 300))
@example(Note("word" * 9), 20)
@example(Entry(Side.LAPTOP, None, "word" * 30), 90)
def test_no_line_is_wider_than_the_terminal(row: Row, width: int) -> None:
    assert all(cell_len(line) <= max(12, width) for line in shown(row, width))


@given(ROWS, st.none() | st.integers(12, 300))
def test_no_character_is_lost(row: Row, width: int | None) -> None:
    said = [letter for letter in text_of(row) if letter != " "]
    everything = iter("".join(shown(row, width)))
    if not isinstance(row, Heading):  # its two columns are read beside each other
        assert all(letter in everything for letter in said)
    else:
        assert {*said} <= {*everything}


def test_the_laptop_is_at_the_right() -> None:
    server, laptop = (shown(Entry(side, 0.012, "rings"), 100)[0] for side in Side)
    assert server.index("rings") < server.index("│") == 49
    assert laptop.index("rings") > laptop.index("│") + 8
    assert "12 ms rings" in server


@pytest.mark.parametrize(("width", "columns"), [(83, False), (84, True)])
def test_a_narrow_terminal_gets_no_columns(width: int, columns: bool) -> None:
    assert ("│" in shown(Entry(Side.LAPTOP, None, "rings"), width)[0]) is columns


def test_without_a_terminal_a_row_is_one_line() -> None:
    assert shown(Entry(Side.SERVER, 1.2345, "rings " * 99), None) == [
        f"mail server: 1,234 ms: {'rings ' * 99}"
    ]


def test_a_long_text_is_folded_between_words() -> None:
    assert shown(Entry(Side.SERVER, None, "one two three"), 25) == [
        "mail server: one two",
        "  three",
    ]
