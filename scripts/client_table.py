"""Write the table of docs/clients.md from the presets and from what their tests have measured.

    python scripts/client_table.py              end with 1 if the table is another one
    python scripts/client_table.py --write      write the table
    python scripts/client_table.py --results FILE
                                                take a run's figures, and write the table

The tests note a line for each way in which a program got its mail
(tests/mail_programs/results.py); `.ci/run programs` and `make test` name the file in
MAILBELL_PROGRAMS_RESULTS. docs/clients.json keeps the newest figures of each way. A way whose
test is empty was tried by hand.
"""

import json
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from statistics import median
from typing import Any, Final

from mailbell.agent.preset import Preset, parse

ROOT: Final = Path(__file__).resolve().parent.parent
DOCUMENT: Final = ROOT / "docs" / "clients.md"
RESULTS: Final = ROOT / "docs" / "clients.json"
PRESETS: Final = ROOT / "src" / "mailbell" / "agent" / "presets"
BEGIN: Final = "<!-- programs: scripts/client_table.py --write -->\n"
END: Final = "<!-- /programs -->\n"
HEAD: Final = (
    "| program | preset | kind | mechanism | tried with (from the ring to the message) | test |\n"
    "| --- | --- | --- | --- | --- | --- |\n"
)
KEYS: Final = ("preset", "version", "way", "seconds", "test")

Row = dict[str, Any]


def rows(path: Path = RESULTS) -> list[Row]:
    """Read figures.

    Args:
        path: the file, with an object on each line.

    Returns:
        The rows; none if there is no such file. A line that is not whole, because the run was
        ended, is left out.
    """
    text = path.read_text() if path.exists() else ""
    return [row for line in text.splitlines() for row in _row(line)]


def _row(line: str) -> Iterator[Row]:
    try:
        row = json.loads(line)
        yield {key: row[key] for key in KEYS}
    except (ValueError, KeyError, TypeError):
        return


def merged(kept: Iterable[Row], run: Iterable[Row]) -> list[Row]:
    """Put the figures of a run in the place of those that they renew.

    Args:
        kept: the figures so far.
        run: the figures of the run.

    Returns:
        For each preset, way and version of the run, the median. It renews what the same test has
        said of that way, also of another version, and what was tried by hand. The others stay.
    """
    run = list(run)
    new: dict[tuple[str, str, str], list[Row]] = {}
    for row in run:
        new.setdefault((row["preset"], row["way"], row["version"]), []).append(row)
    renewed = {(row["preset"], row["way"], row["test"]) for row in run}
    renewed |= {(row["preset"], row["way"], "") for row in run}
    found = [
        row
        for row in kept
        if (row["preset"], row["way"], row["test"]) not in renewed
        and (row["preset"], row["way"], row["version"]) not in new
    ]
    for same in new.values():
        figures = [row["seconds"] for row in same if row["seconds"] is not None]
        found.append(same[-1] | {"seconds": round(median(figures), 2) if figures else None})
    return sorted(found, key=lambda row: (row["preset"], row["way"], row["version"]))


def presets() -> list[Preset]:
    """Read every preset, in the order of their titles."""
    found = [parse(path.read_bytes()) for path in PRESETS.glob("*.toml")]
    return sorted(found, key=lambda preset: preset.title.lower())


def table(known: Iterable[Preset], figures: Iterable[Row]) -> str:
    """Return the table.

    Args:
        known: the presets, in the order of the table.
        figures: what was measured.
    """
    figures = list(figures)
    return HEAD + "".join(
        _line(preset, [row for row in figures if row["preset"] == preset.name]) for preset in known
    )


def _line(preset: Preset, figures: list[Row]) -> str:
    cells = (
        preset.title,
        f"`{preset.name}`",
        preset.kind,
        preset.what,
        "<br>".join(_tried(preset, figures)),
        ", ".join(dict.fromkeys(_test(row["test"]) for row in figures)),
    )
    return "| " + " | ".join(cell.replace("|", "&#124;") for cell in cells) + " |\n"


def versions(preset: Preset) -> list[str]:
    """Return the versions that a preset was tried with.

    Args:
        preset: the preset. A ";" stands between two versions.
    """
    return preset.verified.split("; ")


def _tried(preset: Preset, figures: list[Row]) -> Iterator[str]:
    """Yield each version, with its times."""
    for version in dict.fromkeys([*versions(preset), *(row["version"] for row in figures)]):
        times = "; ".join(
            f"{row['way']}: {row['seconds']} s"
            for row in figures
            if row["version"] == version and row["seconds"] is not None
        )
        yield f"{version} ({times})" if times else version


def _test(name: str) -> str:
    """Return the file of a test, or say that a person has tried it."""
    found = re.search(r"(\w+\.py)::", name)
    return f"`{found[1]}`" if found else "by hand"


def page() -> str:
    """Return docs/clients.md as it is to be."""
    before, _, rest = DOCUMENT.read_text().partition(BEGIN)
    after = rest.partition(END)[2]
    return f"{before}{BEGIN}{table(presets(), rows())}{END}{after}"


def main() -> int:
    """Compare or write the table.

    Returns:
        The exit code.
    """
    match sys.argv[1:]:
        case ["--results", name]:
            found = merged(rows(), rows(Path(name)))
            RESULTS.write_text("".join(json.dumps(row) + "\n" for row in found))
        case ["--write"]:
            pass
        case []:
            if DOCUMENT.read_text() == page():
                return 0
            print("docs/clients.md is not what the presets say: run with --write")
            return 1
        case _:
            print((__doc__ or "").strip(), file=sys.stderr)
            return 64
    DOCUMENT.write_text(page())
    return 0


if __name__ == "__main__":
    sys.exit(main())
