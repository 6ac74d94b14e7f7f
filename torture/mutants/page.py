"""Writes docs/mutants.md from results.json and equivalent.toml."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from torture.mutants.equivalent import reasons
from torture.mutants.files import files
from torture.mutants.job import Outcome
from torture.mutants.results import Result, Results, Survivor, interval
from torture.mutants.session import ROOT

__all__ = ["FILE", "page", "score"]

FILE: Final = ROOT / "docs" / "mutants.md"
INTRODUCTION: Final = (Path(__file__).parent / "introduction.md").read_text()
Reasons = Mapping[str, Mapping[str, str]]


def score(found: int, tried: int, equivalent: int) -> float | None:
    """Return the share of the mutants that a test has noticed, in per cent; None: there are none.

    Args:
        found: how many a test has noticed.
        tried: how many were tried.
        equivalent: how many of these cannot be noticed.
    """
    return 100 * found / (tried - equivalent) if tried > equivalent else None


def page(results: Results, known: Reasons | None = None) -> str:
    """Return the document.

    Args:
        results: what is known of all files.
        known: the reasons why mutants are equivalent; None: those of equivalent.toml.
    """
    known = reasons() if known is None else known
    lines = [*INTRODUCTION.splitlines(), "", *_summary(results, known), ""]
    lines += ["## Files", "", *_table(results, known), "", "## Survivors", ""]
    for name in _order(results):
        lines += _survivors(name, results.files[name], known.get(name, {}))
    return "\n".join(lines).rstrip() + "\n"


def _order(results: Results) -> list[str]:
    return [name for name in files() if name in results.files]


def _summary(results: Results, known: Reasons) -> Iterator[str]:
    whole = _whole(results)
    tried, found = whole.tried, whole.found
    equivalent = sum(
        _equivalent(results.files[name], known.get(name, {})) for name in results.files
    )
    untouched = [name for name in files() if name not in results.files]
    yield (
        f"**Score: {_percent(score(found, tried, equivalent))}.** Of {len(whole.outcomes)} mutants "
        f"in {len(results.files)} files {tried} were tried: tests noticed {found} (of these "
        f"{whole.count(Outcome.TIMEOUT)} because they did not end), {equivalent} are equivalent, "
        f"and {tried - found - equivalent} are noticed by no test."
    )
    yield ""
    yield "Not tried at all: " + (", ".join(f"`{name}`" for name in untouched) or "no file") + "."


def _whole(results: Results) -> Result:
    return Result("", "".join(result.outcomes for result in results.files.values()))


def _table(results: Results, known: Reasons) -> Iterator[str]:
    yield "| file | mutants | tried | noticed | by time | equivalent | open | score |"
    yield "| --- | --: | --: | --: | --: | --: | --: | --- |"
    for name in _order(results):
        result = results.files[name]
        equivalent = _equivalent(result, known.get(name, {}))
        yield (
            f"| `{name}` | {len(result.outcomes)} | {result.tried} | {result.found} "
            f"| {result.count(Outcome.TIMEOUT)} | {equivalent} "
            f"| {result.tried - result.found - equivalent} | {_score(result, equivalent)} |"
        )


def _score(result: Result, equivalent: int) -> str:
    """Return the score; for a sample with the bounds that it gives for all."""
    text = _percent(score(result.found, result.tried, equivalent))
    if not result.left() or not result.tried:
        return text
    low, high = interval(result.found, result.tried - equivalent)
    return f"{text} ({100 * low:.0f} to {100 * high:.0f} %)"


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{share:.1f} %"


def _equivalent(result: Result, known: Mapping[str, str]) -> int:
    return sum(survivor.name in known for survivor in result.survivors)


def _survivors(name: str, result: Result, known: Mapping[str, str]) -> Iterator[str]:
    if not result.survivors:
        return
    yield f"### `{name}`"
    yield ""
    for reason, group in _by_reason(result.survivors, known).items():
        yield "```diff"
        for survivor in group:
            yield f"@@ line {survivor.line} @@"
            yield f"-{survivor.before}"
            yield f"+{survivor.after}"
        yield "```"
        yield ""
        yield f"{reason or 'Open: no test notices it.'}"
        yield ""


def _by_reason(survivors: list[Survivor], known: Mapping[str, str]) -> dict[str, list[Survivor]]:
    """Put those together that have the same reason, in the order of the file."""
    groups: dict[str, list[Survivor]] = {}
    for survivor in survivors:
        groups.setdefault(known.get(survivor.name, ""), []).append(survivor)
    return groups
