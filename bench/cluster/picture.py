"""The results as a picture: mailbell and IDLE over accounts, and the delays of two events."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, LogLocator, NullLocator

from bench.cluster.record import Cluster, Event, Run

__all__ = ["draw"]

_OURS: Final = ("#1b6ca8", "#5aa0d0", "#0d3b5e")
_OTHERS: Final = ("#8f979f", "#5f666d")
_SIZES: Final = ("#9cc4e0", "#1b6ca8", "#0d3b5e")
_MARKS: Final = "osD"


def draw(run: Run, file: Path) -> None:
    """Draw four panels.

    Args:
        run: the results.
        file: the PNG to write.
    """
    figure = Figure(figsize=(10.0, 7.6), dpi=120, layout="constrained")
    memory, messages, monday, mailing = figure.subplots(2, 2).flat
    _over_accounts(memory, run, "Memory in the busiest hour", "GiB", _memory(run))
    _over_accounts(messages, run, "Messages in the busiest hour", "a second", _messages(run))
    _over_minutes(monday, run, 0)
    _over_minutes(mailing, run, len(run.day.mailings))  # the one that is soonest over
    # Without the library's version, so that the same results give the same file.
    figure.savefig(file, metadata={"Software": None})


_Line = tuple[str, str, Callable[[Cluster], float]]


def _memory(run: Run) -> list[_Line]:
    found: list[_Line] = [
        ("mailbell, nodes and engines", _OURS[0], lambda each: each.mib / 1024),
        ("of it the address book", _OURS[1], lambda each: each.book_mib / 1024),
    ]
    return found + _ways(run, lambda each, place: each.idle[place].mib / 1024)


def _messages(run: Run) -> list[_Line]:
    hour = run.day.busiest
    return [
        ("mailbell, commands of the engine", _OURS[0], lambda each: each.hours[hour].commands),
        ("mailbell, calls", _OURS[1], lambda each: each.hours[hour].calls),
        # Hibernated or not, as many are sent, so that one line stands for both.
        ("IDLE, signs of life", _OTHERS[0], lambda each: each.idle[0].signs),
    ]


def _ways(run: Run, value: Callable[[Cluster, int], float]) -> list[_Line]:
    names = [each.name for each in run.clusters[0].idle]
    return [
        (name, color, lambda each, place=place: value(each, place))  # type: ignore[misc]
        for place, (name, color) in enumerate(zip(names, _OTHERS, strict=True))
    ]


def _over_accounts(axes: Axes, run: Run, title: str, unit: str, lines: Sequence[_Line]) -> None:
    accounts = [each.accounts for each in run.clusters]
    for name, color, value in lines:
        axes.plot(
            accounts, [value(each) for each in run.clusters], color=color, marker="o",
            markersize=5, label=name,
        )  # fmt: skip
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.xaxis.set_major_locator(FixedLocator(accounts))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(lambda value, _: f"{value / 1e6:g} million")
    axes.yaxis.set_major_locator(LogLocator(numticks=9))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter("{x:,g}")
    _finish(axes, title, "accounts", unit)


def _over_minutes(axes: Axes, run: Run, number: int) -> None:
    name = run.clusters[0].events[number].name
    name = f"{name[0].upper()}{name[1:]}"
    for each, color in zip(run.clusters, _SIZES, strict=False):
        label = f"{each.accounts / 1e6:g} million accounts"
        _plot_delays(axes, each.events[number], color, label)
    axes.axvspan(0, run.clusters[0].events[number].seconds / 60, color="#f2f4f6", zorder=0)
    _upright(axes)
    axes.plot([], [], color=_OTHERS[0], linestyle=":", label="p99")
    _finish(axes, f"{name}: delay of other mail, p50", "minutes", "seconds")


def _plot_delays(axes: Axes, event: Event, color: str, label: str) -> None:
    found = [(each.at / 60 + 0.5, each.delay) for each in event.minutes if each.delay]
    times = [at for at, _ in found]
    axes.plot(times, [delay.p50 for _, delay in found], color=color, label=label)
    axes.plot(times, [delay.p99 for _, delay in found], color=color, linestyle=":")


def _upright(axes: Axes) -> None:
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(numticks=9))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}" if value >= 1 else f"{value:g}")


def _finish(axes: Axes, title: str, across: str, up: str) -> None:
    axes.set_title(title, fontsize=9, loc="left")
    axes.set_xlabel(across, fontsize=8, loc="left")
    axes.set_ylabel(f"{up}, logarithmic scale", fontsize=8)
    axes.tick_params(labelsize=8)
    axes.grid(color="#e4e7ea")
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(fontsize=7, frameon=True, framealpha=0.8, edgecolor="none")
