"""Writes docs/faults.md: what each daemon does about each error of each of its calls."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from torture.faults.errors import error_name
from torture.faults.tally import CALLS, Result, Tally
from torture.faults.trial import Behaviour, When

__all__ = ["NEVER", "PAGE", "render", "write_page"]

PAGE: Final = Path(__file__).parent.parent.parent / "docs" / "faults.md"

HEAD: Final = """\
# What the daemons do when a system call fails

<!-- written by `python -m torture.faults --all`; do not edit -->

Each system call that a locked daemon may make on sockets, files and memory was made to fail, with
each error that its manual page lists: the next call, a later one, every call for a while, and every
call while the daemon ends in order. Then each call of its start failed once; of a companion's, some
that were drawn by lot, since most of them load its modules. The daemons are
unmodified and locked in as ever. A supervisor outside answers the calls (seccomp_unotify(2)): the
kernel asks it about each call before it carries the call out.

After each fault, everything must work at once: rings by each way, the status, a subscription. A
notification that was accepted before is not lost: a subscriber that comes back with its cursor is
told to look, one that stayed was told of every notification that is counted, and a machine that the
sender owes a ring has got it. While every call fails and nobody speaks to the daemon, it must take
less than a fifth of a processor. If the daemon ends, its exit code is not 0, and its last line
says why; it is started again.

- *served on*: the daemon lived, and everything works after the fault.
- *ended N*: it ended with the exit code N and one line that says why. Restarted, it works, and
  nothing that it had accepted is lost. -6: a library of the system called abort(3), and said why.
  1 or -6 without memory: the interpreter had none even for the end of the daemon, and said so.
- *went on without it*: the resolver, or the process that speaks to the engine of a cluster, ended.
  The sender said so. Until it is started again it rings no names, or alone. It was, and works.
- -: the daemon does not make the call then.

"Every one" means every third call for EAGAIN, EALREADY and EINTR: the kernel does not say "nothing
is there" without an end where it says that something is there, and each EINTR takes a signal. While
a daemon ends these are left out. So is EINVAL for the sockets of a start: from it CPython concludes
that the kernel is older than 2.6.27. Only a bug of
a daemon can lead to EBADF, EFAULT, EINVAL and the like: then it may print a traceback before its
last line. A close(2) that fails closes the connection all the same, as the kernel does. Where
memory fails, the C library keeps none for later (mallopt(3)), so that the daemon has to ask.

"""
NEVER: Final = "Permitted, and never made here:"
_COLUMNS: Final = tuple(When)


def write_page(tally: Tally, seed: int) -> None:
    """Write docs/faults.md.

    Args:
        tally: the results of the full form.
        seed: with which they came.
    """
    PAGE.write_text(render(tally, seed), "utf-8")


def render(tally: Tally, seed: int) -> str:
    """Return the text of the page.

    Args:
        tally: the results of the full form.
        seed: with which they came.
    """
    programs = list(dict.fromkeys(result.program for result in tally.results))
    report = tally.report(seed)
    # How many calls failed depends on how often a daemon asks again, and says nothing here.
    figures = [each for each in report.figures if each.name != CALLS]
    rows = [f"| {figure.name} | {figure.value:g} |" for figure in figures]
    lines = ["| figure | value |", "| --- | ---: |", *rows, ""]
    for program in programs:
        own = [result for result in tally.results if result.program == program]
        lines += [f"## {program}", "", *_serving(own), *_never_made(own), *_starting(own)]
    return HEAD + "\n".join(lines).rstrip() + "\n"


def _serving(results: Sequence[Result]) -> list[str]:
    """Return the table of a daemon that serves: a row for each call and errors that end alike."""
    cells: dict[str, dict[int, dict[When, str]]] = defaultdict(lambda: defaultdict(dict))
    for result in results:
        if result.stage == "serving":
            trial = result.outcome.trial
            cells[trial.name][trial.code][trial.when] = _shown(result)
    lines = [
        "| call | error | the next | a later one | every one | at its end |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for name in sorted(name for name in cells if _is_made(cells[name])):
        alike: dict[tuple[str, ...], list[int]] = defaultdict(list)
        for code, found in cells[name].items():
            alike[tuple(found.get(when, "-") for when in _COLUMNS)].append(code)
        for columns, errors in alike.items():
            names = ", ".join(error_name(code) for code in errors)
            lines.append(f"| `{name}` | {names} | {' | '.join(columns)} |")
    return [*lines, ""]


def _is_made(cells: dict[int, dict[When, str]]) -> bool:
    return any(shown != "-" for found in cells.values() for shown in found.values())


def _never_made(results: Sequence[Result]) -> list[str]:
    """Return a line with the calls that were never made, so that every permitted one is named."""
    made: Counter[str] = Counter()
    for result in results:
        if result.stage == "serving":
            made[result.outcome.trial.name] += result.outcome.injected
    names = sorted(name for name, count in made.items() if not count)
    return [f"{NEVER} {', '.join(f'`{name}`' for name in names)}.", ""] if names else []


def _shown(result: Result) -> str:
    outcome = result.outcome
    if outcome.behaviour is Behaviour.NOT_MADE:
        return "-"
    if outcome.behaviour is Behaviour.ENDED:
        return f"ended {outcome.detail.split()[2].rstrip(':')}"
    return str(outcome.behaviour)


def _starting(results: Sequence[Result]) -> list[str]:
    """Return the table of the starts: a row for each call, with how often what came of it."""
    lines: list[str] = []
    for stage, title in (
        ("starting", "Its start, from the opening of the configuration to READY=1"),
        ("loading", "The loading of Python and of its modules (a sample; Python says why)"),
    ):
        counts: dict[str, Counter[str]] = defaultdict(Counter)
        for result in results:
            if result.stage == stage:
                counts[result.outcome.trial.name][_shown(result)] += 1
        if counts:
            lines += [
                f"{title}:",
                "",
                "| call | calls | what came of them |",
                "| --- | ---: | --- |",
            ]
            lines += [f"| `{n}` | {c.total()} | {_listed(c.items())} |" for n, c in counts.items()]
            lines.append("")
    return lines


def _listed(found: Iterable[tuple[str, int]]) -> str:
    return ", ".join(f"{name}: {count}" for name, count in sorted(found))
