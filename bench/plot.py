"""The results as a picture: the cost of a notification, and its latency under attack."""

from pathlib import Path
from typing import Final, NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator

from bench.report import Results, number
from bench.section import Row, Section

__all__ = ["draw"]

_DAEMON: Final = "mailbelld"
_OURS: Final = "#1b6ca8"
_OTHERS: Final = "#8f979f"
# The names of the three points of a line: two ends and a middle, or percentiles.
_SPREAD: Final = {"min": "|", "median": "o", "max": "|"}
_PERCENTILES: Final = {"p50": "o", "p99": "D", "p99.9": "s"}
_LINE_HEIGHT: Final = 0.3
_FRAME_HEIGHT: Final = 1.0


class _Line(NamedTuple):
    """The figures of one program.

    Attributes:
        label: the text beside it; lines with the same label share a place.
        program: which program it is; ours is emphasised.
        points: from left to right.
        text: the text at its right end.
    """

    label: str
    program: str
    points: tuple[float, ...]
    text: str = ""


class _Panel(NamedTuple):
    """Lines on one logarithmic scale."""

    title: str
    unit: str
    marks: dict[str, str]
    lines: list[_Line]

    @property
    def labels(self) -> list[str]:
        return list(dict.fromkeys(line.label for line in self.lines))


def draw(results: Results, file: Path) -> None:
    """Draw the panels that have data: one for `steady`, one for `latency`.

    Args:
        results: the results of one run.
        file: the PNG to write. It is not written if no panel has data.
    """
    makers = {"steady": _costs, "latency": _latencies}
    found = [makers[each.name](each) for each in results.sections if each.name in makers]
    if not found:
        return
    heights = [_FRAME_HEIGHT + _LINE_HEIGHT * len(panel.labels) for panel in found]
    figure = Figure(figsize=(8.0, sum(heights)), dpi=120, layout="constrained")
    places = figure.subplots(len(found), 1, squeeze=False, height_ratios=heights)[:, 0]
    for panel, axes in zip(found, places, strict=True):
        _draw(panel, axes)
    # Without the library's version, so that the same results give the same file.
    figure.savefig(file, metadata={"Software": None})


def _costs(section: Section) -> _Panel:
    lines = [
        _Line(row.name, row.name, (row.value.least, row.value.median, row.value.most), _text(row))
        for row in section.rows
        if not row.name.endswith("in flight")
    ]
    title = f"CPU time of a notification, and how many times that of the {section.against}"
    return _Panel(title, section.unit, _SPREAD, lines)


def _text(row: Row) -> str:
    ratio = f"   {number(row.ratio.median)} x" if row.ratio else ""
    return f"{number(row.value.median)}{ratio}"


def _latencies(section: Section) -> _Panel:
    """Collect the percentiles of each scene. A row is `[program: ]scene, percentile`."""
    found: dict[str, list[float]] = {}
    for row in section.rows:
        way, _, share = row.name.rpartition(", ")
        if share in _PERCENTILES:
            found.setdefault(way, []).append(row.value.median)
    lines = []
    for way, points in found.items():
        program, _, scene = way.rpartition(": ")
        lines.append(_Line(scene, program or _DAEMON, tuple(points)))
    return _Panel(section.title, section.unit, _PERCENTILES, lines)


def _draw(panel: _Panel, axes: Axes) -> None:
    labels = panel.labels
    for line in panel.lines:
        beside = len({other.program for other in panel.lines if other.label == line.label}) > 1
        shift = 0.15 if beside else 0.0
        place = labels.index(line.label) + (-shift if line.program == _DAEMON else shift)
        _draw_line(axes, place, line, panel.marks)
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter("{x:,g}")
    axes.xaxis.set_minor_formatter("")
    axes.margins(x=0.12)
    axes.set_yticks(range(len(labels)), labels)
    axes.invert_yaxis()
    axes.set_title(panel.title, fontsize=9, loc="left")
    axes.set_xlabel(f"{panel.unit}, logarithmic scale", fontsize=8, loc="left")
    axes.tick_params(labelsize=8)
    axes.grid(axis="x", color="#e4e7ea")
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)
    _explain(panel, axes)


def _draw_line(axes: Axes, place: float, line: _Line, marks: dict[str, str]) -> None:
    color = _OURS if line.program == _DAEMON else _OTHERS
    axes.plot([line.points[0], line.points[-1]], [place] * 2, color=color)
    for point, mark in zip(line.points, marks.values(), strict=False):
        axes.plot([point], [place], color=color, marker=mark, markersize=5)
    axes.annotate(
        line.text, (line.points[-1], place), (6, 0), textcoords="offset points",
        va="center", fontsize=8, color=color,
    )  # fmt: skip


def _explain(panel: _Panel, axes: Axes) -> None:
    """Explain the marks, and the colours if the labels do not."""
    handles = [
        Line2D([], [], color="black", linestyle="", marker=mark, markersize=5, label=name)
        for name, mark in panel.marks.items()
    ]
    programs = dict.fromkeys(line.program for line in panel.lines)
    if not set(programs) <= set(panel.labels):
        for name in programs:
            color = _OURS if name == _DAEMON else _OTHERS
            handles.append(Line2D([], [], color=color, label=name))
    axes.legend(
        handles=handles, ncols=len(handles), fontsize=7, frameon=False,
        loc="upper right", bbox_to_anchor=(1, 0), borderaxespad=2.4,
    )  # fmt: skip
