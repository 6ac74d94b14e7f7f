"""Recordings of terminals: asciicast, version 2, the format of asciinema(1). Pure.

A recording is a header, and then one line of JSON for each event: seconds since the beginning, the
event's kind ("o" is output, "m" a marker), and its text. https://docs.asciinema.org/manual/asciicast/v2/
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

__all__ = ["Cast", "Event", "marked", "read", "written"]

_VERSION: Final = 2


@dataclass(frozen=True)
class Event:
    """Something that a terminal showed.

    Attributes:
        seconds: since the beginning.
        kind: "o": output; "m": a marker, with its label.
        text: what was written to the terminal, or the label.
    """

    seconds: float
    kind: str
    text: str


@dataclass(frozen=True)
class Cast:
    """A recording.

    Attributes:
        width: of the terminal, in cells.
        height: of the terminal, in lines.
        timestamp: when it began, in whole seconds since 1970.
        title: of what it shows.
        events: in the order of their times.
    """

    width: int
    height: int
    timestamp: int
    title: str
    events: tuple[Event, ...]


def written(cast: Cast) -> str:
    """Return a recording as the text of its file."""
    header = {
        "version": _VERSION, "width": cast.width, "height": cast.height,
        "timestamp": cast.timestamp, "title": cast.title, "env": {"TERM": "xterm-256color"},
    }  # fmt: skip
    lines: list[object] = [header]
    lines += [[round(each.seconds, 6), each.kind, each.text] for each in cast.events]
    return "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)


def read(text: str) -> Cast:
    """Return the recording that a file has.

    Raises:
        ValueError: the text is no such recording; with the reason.
    """
    first, *others = text.removesuffix("\n").split("\n")  # U+2028 and such may be in a text
    try:
        header = json.loads(first)
        if header["version"] != _VERSION:
            raise ValueError(f"version {header['version']} of the format is not known")
        events = tuple(
            Event(float(at), str(kind), str(said)) for at, kind, said in map(json.loads, others)
        )
        cast = Cast(
            int(header["width"]), int(header["height"]), int(header.get("timestamp", 0)),
            str(header.get("title", "")), events,
        )  # fmt: skip
    except (LookupError, TypeError) as error:
        raise ValueError(f"no asciicast: {error!r}") from error
    times = [each.seconds for each in events]
    if times != sorted(times):
        raise ValueError("the times of the events are not in order")
    return cast


def marked(cast: Cast, label: str) -> Sequence[Event]:
    """Return what a terminal got until a marker came.

    Args:
        cast: the recording.
        label: of the marker.

    Raises:
        ValueError: there is no such marker.
    """
    for number, event in enumerate(cast.events):
        if (event.kind, event.text) == ("m", label):
            return [each for each in cast.events[:number] if each.kind == "o"]
    raise ValueError(f"the recording has no marker {label!r}")
