"""The results as a picture: how soon a client knows, and what waiting costs."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullLocator

from bench.push.figures import Line, idle_of, lines
from bench.push.record import Run
from bench.report import number

__all__ = ["draw"]

_OURS: Final = "#1b6ca8"
_OTHERS: Final = "#8f979f"


class _Panel(NamedTuple):
    """One quantity of each way.

    Attributes:
        title: what it is.
        unit: of the axis.
        values: of a line; the first is the usual value, and a second one is the p99.
        is_log: whether the scale is logarithmic.
    """

    title: str
    unit: str
    values: Callable[[Line], Sequence[float]]
    is_log: bool


def draw(run: Run, file: Path) -> None:
    """Draw four panels, with a row for each way.

    Args:
        run: the results.
        file: the PNG to write.
    """
    found = lines(run)
    panels = (
        _Panel("Mail delivered until the client knows", "seconds", _told, True),
        _Panel(f"Server's memory for {run.plan.users:,} users", "MiB", _memory, True),
        _Panel("Bytes of an idle user and day, with TLS", "kB",
               lambda line: [idle_of(run, line.tls, tls=True).octets / 1e3], True),
        _Panel("The network wakes an idle laptop", "times an hour",
               lambda line: [idle_of(run, line.tls, tls=True).wakes], False),
    )  # fmt: skip
    height = 1.7 + 0.5 * len(found)
    figure = Figure(figsize=(10.0, height), dpi=120, layout="constrained")
    grid = figure.subplots(2, 2, sharey=True)
    for panel, axes in zip(panels, grid.flat, strict=True):
        _draw(panel, axes, found)
    marks = [
        Line2D([], [], color="black", linestyle="", marker=mark, markersize=5, label=name)
        for name, mark in (("p50", "o"), ("p99", "D"))
    ]
    grid.flat[0].legend(handles=marks, fontsize=7, frameon=False, loc="lower left")
    # Without the library's version, so that the same results give the same file.
    figure.savefig(file, metadata={"Software": None})


def _told(line: Line) -> Sequence[float]:
    told = line.way.told
    return [told.p50, told.p99] if told else []


def _memory(line: Line) -> Sequence[float]:
    return [max(line.way.memory, 0.1)]  # a logarithmic scale has no 0


def _draw(panel: _Panel, axes: Axes, found: Sequence[Line]) -> None:
    labels = [_label(line) for line in found]
    for place, line in enumerate(found):
        color = _OURS if line.way.name.startswith("mailbell") else _OTHERS
        values = panel.values(line)
        if panel.is_log:  # a bar would need a beginning, and this scale has no 0
            axes.plot(values, [place] * len(values), color=color)
            for value, mark in zip(values, "oD", strict=False):
                axes.plot([value], [place], color=color, marker=mark, markersize=6)
        else:
            axes.barh([place], values, height=0.55, color=color)
        text = ", ".join(number(value) for value in values)
        axes.annotate(
            text, (values[-1], place), (6, 0), textcoords="offset points",
            va="center", fontsize=8, color=color,
        )  # fmt: skip
    if panel.is_log:
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(numticks=8))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter("{x:,g}")
    axes.margins(x=0.16)
    axes.set_yticks(range(len(labels)), labels)
    axes.set_ylim(len(labels) - 0.5, -0.5)
    axes.set_title(panel.title, fontsize=9, loc="left")
    scale = ", logarithmic scale" if panel.is_log else ""
    axes.set_xlabel(f"{panel.unit}{scale}", fontsize=8, loc="left")
    axes.tick_params(labelsize=8)
    axes.grid(axis="x", color="#e4e7ea")
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)


def _label(line: Line) -> str:
    return line.way.name
