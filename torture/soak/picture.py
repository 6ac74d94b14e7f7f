"""The series of a soak as a picture: memory, descriptors, tables and CPU time, by time."""

from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from torture.soak.drift import Life
from torture.soak.plan import Record
from torture.soak.verdict import COST, Row, judged

__all__ = ["draw"]

_COLORS: Final = ("#1b6ca8", "#c0562b", "#3d8c40", "#8f979f", "#7a4fa3", "#b8962e")
_MINUTE: Final = 60.0
_SIZES: Final = ("targets known", "accounts in the book", "sources by tcp/ipv4, all tables")


class _Panel(NamedTuple):
    """One quantity.

    Attributes:
        title: what it is, with its unit.
        has: whether a series belongs here.
        scale: what its values are divided by.
        label: of a line, made of its row.
    """

    title: str
    has: Callable[[Row], bool]
    scale: float
    label: Callable[[Row], str]


_PANELS: Final = (
    _Panel("RSS, MiB", lambda row: row.name.startswith("RSS"), 1024, lambda row: row.process),
    _Panel("Descriptors", lambda row: row.name == "descriptors", 1, lambda row: row.process),
    _Panel("Sizes of tables", lambda row: row.name in _SIZES, 1, lambda row: row.name),
    _Panel("CPU time of a notification, us", lambda row: row.name == COST, 1,
           lambda row: row.process),
)  # fmt: skip


def draw(record: Record, file: Path) -> None:
    """Draw what was measured after the warm-up of each life. A gap is a restart and a warm-up.

    Args:
        record: what was measured.
        file: the PNG to write.
    """
    rows = judged(record)
    figure = Figure(figsize=(10.0, 7.0), dpi=110, layout="constrained")
    for panel, axes in zip(_PANELS, figure.subplots(2, 2).flat, strict=True):
        _draw(panel, axes, [row for row in rows if panel.has(row) and any(row.lives)])
        axes.set_xlim(0, record.lasted / _MINUTE)
    # Without the library's version, so that the same record gives the same file.
    figure.savefig(file, metadata={"Software": None})


def _draw(panel: _Panel, axes: Axes, rows: list[Row]) -> None:
    for row, color in zip(rows, _COLORS, strict=False):
        for number, life in enumerate(row.lives):
            axes.plot(
                *_coordinates(life, panel.scale), color=color, linewidth=1,
                label=panel.label(row) if number == 0 else None,
            )  # fmt: skip
    axes.set_title(panel.title, fontsize=9, loc="left")
    axes.set_xlabel("minutes", fontsize=8, loc="left")
    axes.tick_params(labelsize=8)
    axes.set_ylim(bottom=0)
    axes.grid(color="#e4e7ea")
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    if rows:
        axes.legend(fontsize=7, frameon=False)


def _coordinates(life: Life, scale: float) -> tuple[list[float], list[float]]:
    return [at / _MINUTE for at, _ in life], [value / scale for _, value in life]
