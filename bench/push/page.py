"""The tables of README.md and docs/push.md, from a run's results.

    python bench/push/page.py            end with 1 if a document has another text
    python bench/push/page.py --write    write the tables and the picture

`make bench-push` writes them too.
"""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import msgspec

ROOT: Final = Path(__file__).resolve().parents[2]
if not __package__:  # started by its path, which puts its own folder on the search path
    sys.path[0] = str(ROOT)
if str(ROOT / "tests") not in sys.path:
    sys.path.append(str(ROOT / "tests"))

from bench.push.figures import Idle, Line, idle_of, lines  # noqa: E402  it is found only now
from bench.push.record import Latency, Run, Way, Wire  # noqa: E402  it is found only now
from bench.report import number  # noqa: E402  it is found only now

__all__ = ["PLACES", "changed", "main", "readme", "report"]

RESULTS: Final = Path(__file__).resolve().parent / "results.json"
_PICTURE: Final = "results.png"
PLACES: Final = {
    "README.md": ("<!-- push -->\n", "<!-- /push -->\n"),
    "docs/push.md": ("<!-- figures: bench/push/page.py --write -->\n", "<!-- /figures -->\n"),
}
"""The documents, and what their tables stand between."""
_YES: Final = {True: "yes", False: "no"}


def readme(run: Run) -> str:
    """Return the text of README.md between its marks."""
    users = f"{run.plan.users:,}"
    found = lines(run)
    rung = [line for line in found if line.way.name.startswith("mailbell")]
    # The newest Dovecot with mailbell is enough here.
    rows = rung[-1:] + [line for line in found if line not in rung]
    heading = (
        "way", "knows after: p50, p99", f"memory for {users}", "processes", "connections",
        "one idle day", "network wakes laptop",
    )  # fmt: skip
    table = "\n".join(_table(heading, (_short(run, line) for line in rows)))
    return f"""\
How soon a program that waits knows of a mail, and what {users} users cost who wait for one:

{table}

![{_alt(run)}](bench/push/{_PICTURE})

{_where(run)}.
One idle day is the bytes of one user with TLS. That of mailbell is the look each hour that
`mailbell run` takes to be safe; without it no packet crosses. [docs/push.md](docs/push.md) has the
method and all figures, and `make bench-push` measures them again.

**IDLE is better** where nobody can call you: it needs no open port, works behind any NAT and
firewall, with any mail program and any provider, and it encrypts. When it tells of a mail, the
connection that fetches it is there already; after a ring a mail program connects and logs in first.
`mailbell run` waits one more second before it does (`settle`): with its defaults the mail is there
later than with IDLE. It looks at the clocks every 5 seconds to notice a sleep. With hibernation,
which is off by default in Dovecot, IDLE needs no more memory of the server either.
"""


def _short(run: Run, line: Line) -> tuple[str, ...]:
    way, calm = line.way, idle_of(run, line.tls, tls=True)
    name = way.name.replace("mailbell", "**mailbell**")
    return (
        name, _pair(way.told), _about(way.memory), f"{way.processes:,}",
        f"{way.waiting.connections:,}", _amount(calm.octets), _often(calm.wakes),
    )  # fmt: skip


def report(run: Run) -> str:
    """Return the text of docs/push.md between its marks."""
    parts = [f"{_where(run)}. Versions: {_versions(run)}."]
    parts += ["", "### How soon", "", *_how_soon(run)]
    parts += ["", f"### What {run.plan.users:,} waiting users cost the server", "", *_server(run)]
    parts += ["", "### A user to whom nothing happens", "", *_idle(run)]
    parts += ["", "### What was measured for that", "", *_measured(run), ""]
    return "\n".join(parts)


def _how_soon(run: Run) -> Iterator[str]:
    yield from _table(
        ("way", "mails", "knows p50", "p99", "most", "has it p50", "p99", "most", "delivery p50"),
        (
            (way.name, str(way.told.count), *_three(way.told), *_three(way.has),
             _time(way.delivery.p50))
            for way in run.ways if way.told and way.delivery
        ),
    )  # fmt: skip
    notes = [f"{way.name}: {note}." for way in run.ways for note in way.notes]
    if notes:
        yield f"\n{' '.join(notes)}"


def _server(run: Run) -> Iterator[str]:
    yield from _table(
        ("way", "server without them", "with them", "for them", "each user", "processes",
         "connections", "peak"),
        (
            (way.name, _mib(way.idle.mib), _mib(way.waiting.mib), _mib(way.memory),
             f"{way.memory * 1024 / way.users:,.0f} KiB", f"{way.processes:,}",
             f"{way.waiting.connections:,}", _peak(way))
            for way in run.ways
        ),
    )  # fmt: skip


def _peak(way: Way) -> str:
    if way.peak == way.waiting:
        return ""
    extra = way.peak.mib - way.idle.mib
    return f"{_mib(extra)}, {way.peak.processes - way.idle.processes} processes"


def _idle(run: Run) -> Iterator[str]:
    heading = (
        "way", "TLS", "bytes a day", "of them in TCP", "wakes an hour", "packets to it an hour",
        "processes ran an hour",
    )  # fmt: skip
    yield from _table(
        heading,
        (
            (name, tls, f"{calm.octets:,.0f}", f"{calm.payload:,.0f}", f"{calm.wakes:.1f}",
             f"{calm.arriving:.1f}", f"{calm.ran:.0f}")
            for name, tls, calm in _idle_rows(run)
        ),
    )  # fmt: skip


def _idle_rows(run: Run) -> Iterator[tuple[str, str, Idle]]:
    for wire in run.wires:
        if wire.name == "mailbell":
            yield "mailbell, no look", "", idle_of(run, wire, tls=False, hourly=False)
            yield "mailbell, a look each hour", "no", idle_of(run, wire, tls=False)
            yield "mailbell, a look each hour", "yes", idle_of(run, wire, tls=True)
        else:
            yield wire.name, _YES[wire.tls], idle_of(run, wire, tls=wire.tls)


def _measured(run: Run) -> Iterator[str]:
    yield from _table(
        ("way", "TLS", "seconds", "occasions", "each after", "bytes of one", "of a new IDLE",
         "of telling of a mail", "processes ran"),
        (_measured_row(wire) for wire in run.wires),
    )  # fmt: skip


def _measured_row(wire: Wire) -> tuple[str, ...]:
    parts = (wire.each, wire.again, wire.telling)
    return (
        wire.name, _YES[wire.tls], f"{wire.seconds:.0f}", str(wire.bursts),
        f"{wire.interval:.1f} s" if wire.interval else "",
        *(f"{burst.octets:.0f}" if burst else "" for burst in parts),
        ", ".join(f"{name} {times}" for name, times in wire.ran.items()),
    )  # fmt: skip


# --- words ------------------------------------------------------------------------------------


def _table(heading: Sequence[str], rows: Iterator[tuple[str, ...]]) -> Iterator[str]:
    yield f"| {' | '.join(heading)} |"
    yield "| --- |" + " ---: |" * (len(heading) - 1)
    for row in rows:
        yield f"| {' | '.join(row)} |"


def _where(run: Run) -> str:
    machine = run.machine
    return (
        f"{machine.cores} cores, Linux {machine.kernel} ({machine.architecture}), {machine.python},"
        f" load average {machine.load:.1f} before the run and {run.load:.1f} at its end"
    )


def _versions(run: Run) -> str:
    servers = dict.fromkeys(way.server for way in run.ways)
    return f"mailbell {run.mailbell}, Dovecot {' and '.join(servers)}"


def _alt(run: Run) -> str:
    return (
        f"How soon a client knows, memory of the server for {run.plan.users:,} users,"
        " bytes of an idle day, and how often the network wakes the laptop"
    )


def _pair(latency: Latency | None) -> str:
    return f"{_time(latency.p50)}, {_time(latency.p99)}" if latency else ""


def _three(latency: Latency | None) -> tuple[str, str, str]:
    if latency is None:
        return ("", "", "")
    return (_time(latency.p50), _time(latency.p99), _time(latency.most))


def _time(seconds: float) -> str:
    return f"{number(seconds)} s" if seconds >= 1 else f"{number(seconds * 1000)} ms"


def _mib(amount: float) -> str:
    return f"{amount:,.1f} MiB"


def _about(amount: float) -> str:
    return f"{amount:,.0f} MiB" if amount >= 10 else f"{amount:.1f} MiB"


def _often(times: float) -> str:
    return "once an hour" if round(times) == 1 else f"{times:.0f} times an hour"


def _amount(octets: float) -> str:
    if octets >= 1e6:
        return f"{octets / 1e6:.1f} MB"
    return f"{octets / 1e3:.0f} kB"


# --- the documents ----------------------------------------------------------------------------


def changed(run: Run) -> dict[str, str]:
    """Return the text of each document with the tables of a run.

    Raises:
        LookupError: a document has no place for them.
    """
    texts = {}
    for name, block in (("README.md", readme(run)), ("docs/push.md", report(run))):
        begin, end = PLACES[name]
        before, found, rest = (ROOT / name).read_text().partition(begin)
        _, also, after = rest.partition(end)
        if not found or not also:
            raise LookupError(f"{name} has no place between {begin.strip()} and {end.strip()}")
        texts[name] = f"{before}{begin}{block}{end}{after}"
    return texts


def main(words: Sequence[str] | None = None) -> int:
    """Return the exit code.

    Args:
        words: the words of the command line; None: those of this process.
    """
    words = sys.argv[1:] if words is None else words
    run = msgspec.json.decode(RESULTS.read_bytes(), type=Run)
    texts = changed(run)
    if list(words) == ["--write"]:
        from bench.push.picture import draw

        draw(run, RESULTS.with_name(_PICTURE))
        for name, text in texts.items():
            (ROOT / name).write_text(text)
        return 0
    old = [name for name, text in texts.items() if (ROOT / name).read_text() != text]
    for name in old:
        print(f"{name} is not that of bench/push/results.json: python bench/push/page.py --write")
    return 1 if old else 0


if __name__ == "__main__":
    sys.exit(main())
