"""A recording is what it was, and a picture of it shows what was on the screen."""

import json
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scripts.demo import MOMENT
from scripts.show.cast import Cast, Event, marked, read, written
from scripts.show.picture import picture

DOCS = Path(__file__).parents[2] / "docs"
TIMES = st.lists(st.integers(0, 10**9).map(lambda us: us / 1e6), max_size=5).map(sorted)
EVENTS = TIMES.flatmap(
    lambda times: st.tuples(
        *(
            st.builds(Event, st.just(at), st.sampled_from("om"), st.text(max_size=30))
            for at in times
        )
    )
)
CASTS = st.builds(
    Cast,
    st.integers(1, 500),
    st.integers(1, 200),
    st.integers(0, 2**40),
    st.text(max_size=20),
    EVENTS,
)
SVG = "{http://www.w3.org/2000/svg}"


def recorded(*texts: str) -> Cast:
    return Cast(20, 3, 0, "a <show>", tuple(Event(0.0, "o", text) for text in texts))


def lines(cast: Cast) -> list[str]:
    image = ET.fromstring(picture(cast, cast.events))
    return [each.text or "" for each in image.iter(f"{SVG}text")]


@given(CASTS)
def test_what_is_written_is_read_again(cast: Cast) -> None:
    text = written(cast)
    assert read(text) == cast
    assert all(
        isinstance(json.loads(line), dict | list) for line in text.removesuffix("\n").split("\n")
    )


@pytest.mark.parametrize(
    "text",
    [
        "", "{}", "[]", "no JSON", '{"version": 3, "width": 1, "height": 1}',
        '{"version": 2, "width": 1, "height": 1}\n[1]',
        '{"version": 2, "width": 1, "height": 1}\n[2, "o", ""]\n[1, "o", ""]',
    ],
)  # fmt: skip
def test_another_file_is_no_recording(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        read(text)


def test_a_marker_ends_what_is_seen() -> None:
    first, second = Event(0.0, "o", "first"), Event(2.0, "o", "second")
    cast = Cast(9, 9, 0, "", (first, Event(1.0, "m", "here"), second))
    assert marked(cast, "here") == [first]
    with pytest.raises(ValueError, match="no marker 'there'"):
        marked(cast, "there")


def test_a_picture_has_the_last_lines() -> None:
    cast = recorded("one\r\ntwo\r\n", "three\r\nfo", "ur\r\n")
    assert lines(cast) == ["two", "three", "four"]


def test_a_picture_has_the_colours_and_the_places() -> None:
    cast = recorded("\x1b[1;36mab\x1b[0m  <c>")
    bold, plain = ET.fromstring(picture(cast, cast.events)).iter(f"{SVG}text")
    assert (bold.text, bold.get("font-weight"), bold.get("fill")) == ("ab", "bold", "#79c0ff")
    assert (plain.text, plain.get("fill")) == ("<c>", None)
    assert float(plain.get("x", 0)) - float(bold.get("x", 0)) == pytest.approx(4 * 8.4)


@given(st.text(st.characters(exclude_categories=("C", "M")), max_size=40))
def test_a_picture_is_xml_whatever_it_shows(text: str) -> None:
    assert " ".join(lines(recorded(text))).split() == text.split() or "  " in text


def test_the_recording_is_whole_and_the_picture_is_of_it() -> None:
    """Both come from a run: `make demo CAST=docs/demo.cast`."""
    cast = read((DOCS / "demo.cast").read_text())
    labels = [each.text for each in cast.events if each.kind == "m"]
    assert labels == ["a mail", "junk", "awake", "flood", "end"]
    assert cast.events[-1].seconds < 30
    assert (DOCS / "demo.svg").read_text() == picture(cast, marked(cast, MOMENT))
