"""The reader reports every mistake with its path, in printable text of bounded length."""

import codecs
import datetime
from typing import Annotated

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Meta, Struct

from mailbell.configuration.reader import (
    INVALID,
    MAX_BYTES,
    MAX_LINE,
    MAX_PROBLEMS,
    Problems,
    convert,
    each,
    quote,
    read,
)
from mailbell.configuration.values import Duration
from mailbell.core.errors import ConfigurationError


class Inner(Struct, frozen=True):
    number: Annotated[int, Meta(ge=1, le=9, description="a digit")] = 1


class Item(Struct, frozen=True):
    name: Annotated[str, Meta(description="a name")]


class Outer(Struct, frozen=True):
    inner: Inner = Inner()
    plain: Duration = Duration(1)
    bounded: Annotated[Duration, Meta(ge=1.0, le=2.0, description="one or two")] = Duration(1)
    words: Annotated[
        frozenset[Annotated[str, Meta(description="a word")]],
        Meta(min_length=1, max_length=2, description="words"),
    ] = frozenset({"x"})
    item: Annotated[tuple[Item, ...], Meta(max_length=2, description="items")] = ()


def attempt(data: bytes) -> tuple[Outer, list[str]]:
    problems = Problems()
    outer = read(data, Outer, problems)
    try:
        problems.raise_if_any()
    except ConfigurationError as error:
        return outer, [str(problem) for problem in error.problems]
    return outer, []


def test_values_arrive_converted() -> None:
    outer, problems = attempt(
        b'plain = "5s"\nbounded = "2s"\nwords = ["a", "b"]\n'
        b'[inner]\nnumber = 9\n[[item]]\nname = "n"'
    )
    assert problems == []
    assert outer == Outer(Inner(9), Duration(5), Duration(2), frozenset({"a", "b"}), (Item("n"),))


def test_nothing_gives_the_defaults() -> None:
    assert attempt(b"") == (Outer(), [])


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("inner = 1", "inner: 1 is not accepted: write a table, [inner]"),
        ("inner = []", "inner: an array is not accepted: write a table, [inner]"),
        ("inner.number = 0", "inner.number: 0 is not accepted: write a digit"),
        ("inner.number = true", "inner.number: true is not accepted: write a digit"),
        ("inner.number = 1.0", "inner.number: 1.0 is not accepted: write a digit"),
        (
            "inner.number = 0x" + "f" * 900,
            "inner.number: a huge number is not accepted: write a digit",
        ),
        ("inner.numbr = 1", "inner.numbr: unknown key: the keys here are number"),
        ('inner."a\\u001b" = 1', 'inner."a\\x1b": unknown key: the keys here are number'),
        ("plain = 5", f"plain: 5 is not accepted: write {Duration.form}"),
        ('plain = "5"', f'plain: "5" is not accepted: write {Duration.form}'),
        ('bounded = "3s"', 'bounded: "3s" is not accepted: write one or two'),
        ('bounded = "1ms"', 'bounded: "1ms" is not accepted: write one or two'),
        ("bounded = 1.5", "bounded: 1.5 is not accepted: write one or two"),
        ('words = "a"', 'words: "a" is not accepted: write words'),
        ("words = []", "words: an array of 0 is not accepted: write words"),
        ('words = ["a", "b", "c"]', "words: an array of 3 is not accepted: write words"),
        ('words = ["a", 5]', "words[1]: 5 is not accepted: write a word"),
        ("[[item]]", "item[0].name: missing: write a name"),
        ("item = [1]", "item[0]: 1 is not accepted: write a table, [[item]]"),
        ("[item]", "item: a table is not accepted: write items"),
    ],
)
def test_a_mistake_is_reported_with_its_path_and_the_form(text: str, problem: str) -> None:
    assert attempt(text.encode())[1] == [problem]


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"plain = ", 'the last line: not valid TOML: "Invalid value"'),
        (b"\nplain = =", 'line 2, column 9: not valid TOML: "Invalid value"'),
        (
            b"plain = 1 1",
            (
                "line 1, column 11: not valid TOML: "
                '"Expected newline or end of document after a statement"'
            ),
        ),
        (
            "\n plain = \u201c5s\u201d".encode(),
            'line 2, column 10: not valid TOML: "Invalid value", at the character "\\u201c"',
        ),
        (
            "#\r\n\ufeffplain = '5s'".encode(),
            'line 2, column 1: not valid TOML: "Invalid statement", at the character "\\ufeff"',
        ),
        (b"\n\n#\xff", "line 3: not UTF-8: save it as UTF-8"),
        ("plain = '5s'".encode("utf-16"), "UTF-16, not UTF-8: save it as UTF-8"),
        (codecs.BOM_UTF16_BE, "UTF-16, not UTF-8: save it as UTF-8"),
        ("plain = '5s'".encode("utf-32"), "UTF-16, not UTF-8: save it as UTF-8"),
        (
            "#\nplain = '5s'".encode("utf-16-le"),
            "line 1: holds a zero byte, as UTF-16 does: save it as UTF-8",
        ),
        (b"a = " + b"[" * 1000, "nested too deeply: no value here needs more than two levels"),
        (b"#" * (MAX_LINE + 1), f"line 1: longer than {MAX_LINE} bytes: break it into several"),
        (b"\n" * (MAX_BYTES + 1), f"larger than {MAX_BYTES} bytes: make it smaller"),
    ],
    ids=[
        "end",
        "middle",
        "statement",
        "quotation mark",
        "second mark",
        "not UTF-8",
        "UTF-16",
        "empty UTF-16",
        "UTF-32",
        "UTF-16 without a mark",
        "nested",
        "long line",
        "large",
    ],
)
def test_what_is_no_toml_is_one_problem(data: bytes, problem: str) -> None:
    outer, problems = attempt(data)
    assert problems == [problem]
    assert {outer.inner.number, outer.plain, outer.bounded, outer.words, outer.item} == {INVALID}


def test_a_byte_order_mark_at_the_beginning_is_no_part_of_the_text() -> None:
    outer, problems = attempt(codecs.BOM_UTF8 + b'plain = "5s"')
    assert (outer.plain, problems) == (Duration(5), [])
    # The positions are those that an editor shows, which does not count the mark.
    assert attempt(codecs.BOM_UTF8 + b"plain = =")[1] == [
        'line 1, column 9: not valid TOML: "Invalid value"'
    ]


def test_a_line_and_a_file_may_be_as_long_as_allowed() -> None:
    assert attempt(b"#" * MAX_LINE)[1] == []
    assert attempt(b"\n" * MAX_BYTES)[1] == []
    line = b"#" + b" " * (MAX_LINE - 1) + b"\n"
    assert attempt(line * (MAX_BYTES // len(line)))[1] == []


def test_a_line_has_its_length_with_its_blanks() -> None:
    text = b"\n\n#" + b" x" * (MAX_LINE // 2) + b"\n"
    assert attempt(text)[1] == [f"line 3: longer than {MAX_LINE} bytes: break it into several"]


def test_a_long_text_is_cut_where_it_is_quoted() -> None:
    assert quote("x" * 40) == '"' + "x" * 40 + '"'
    assert quote("x" * 41) == '"' + "x" * 40 + '"...'
    assert quote(10**20 - 1) == "9" * 20


def test_an_array_may_be_empty_if_nothing_else_is_said() -> None:
    outer, problems = attempt(b"item = []")
    assert (outer.item, problems) == ((), [])


def test_a_message_without_a_place_is_shown_escaped(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: str) -> None:
        raise ValueError("Exceeds\n the limit")

    # A number of more than 4300 digits causes this. Our lines are too short for one.
    monkeypatch.setattr("tomllib.loads", refuse)
    assert attempt(b"")[1] == ['not valid TOML: "Exceeds\\n the limit"']


def test_what_could_not_be_read_keeps_its_place() -> None:
    outer, _ = attempt(b'item = [{name = 1}, {name = "b"}]\nwords = ["a", 1]')
    assert outer.words == {"a", INVALID}
    assert [item.name for item in outer.item] == [INVALID, "b"]


def test_each_skips_what_could_not_be_read_and_keeps_count() -> None:
    assert list(each(("a", INVALID, "b"))) == [(0, "a"), (2, "b")]
    assert list(each(INVALID)) == []


def test_many_problems_are_kept_to_a_number_and_counted() -> None:
    problems = Problems()
    for place in range(MAX_PROBLEMS + 5):
        problems.add(str(place), "wrong")
    with pytest.raises(ConfigurationError) as caught:
        problems.raise_if_any()
    assert str(caught.value).startswith(f"{MAX_PROBLEMS + 5} problems in the configuration;")
    assert len(caught.value.problems) == MAX_PROBLEMS + 1
    assert str(caught.value.problems[-1]) == "and 5 more"


def test_one_problem_is_one() -> None:
    problems = Problems()
    problems.add("a", "wrong")
    with pytest.raises(ConfigurationError, match=r"^1 problem in the configuration; correct it"):
        problems.raise_if_any()


@given(st.text() | st.text(st.characters(categories=["Cs", "Cc", "Cf", "Lo", "So"]), min_size=50))
def test_a_quoted_text_is_printable_short_and_the_same_text(text: str) -> None:
    quoted = quote(text)
    assert quoted.isascii()
    assert quoted.isprintable()
    assert len(quoted) <= 405
    if len(text) <= 40:
        inner = quoted[1:-1].replace('\\"', '"')
        assert inner.encode("ascii").decode("unicode_escape") == text
    else:
        assert quoted.endswith('"...')


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (-5, "-5"),
        (10**20, "a huge number"),
        (float("inf"), "inf"),
        (False, "false"),
        ({}, "a table"),
        ([], "an array"),
        ('a"b', '"a\\"b"'),
        (datetime.date(2026, 1, 1), "a date or time"),
    ],
)
def test_other_values_are_named_by_kind(value: object, text: str) -> None:
    assert quote(value) == text


def test_a_number_that_str_refuses_is_named_all_the_same() -> None:
    assert quote(-(16**10_000)) == "a huge number"


def test_a_number_of_any_size_is_held_against_the_bounds() -> None:
    digit = Annotated[int, Meta(ge=1, le=9, description="a digit")]
    problems = Problems()
    assert convert(digit, 16**10_000, "path", problems) is INVALID
    with pytest.raises(ConfigurationError) as caught:
        problems.raise_if_any()
    assert str(caught.value.problems[0]) == "path: a huge number is not accepted: write a digit"
