"""Write the times of docs/install.md from what its tests have measured.

    python scripts/install_page.py              end with 1 if the table is another one
    python scripts/install_page.py --write      write the table
    python scripts/install_page.py --results FILE
                                                take a run's times, and write the table

`.ci/run ways` notes a line for each command of the page in .cache/packages.jsonl. The last line
of a block that is timed says what has come of it. docs/install.json keeps the newest times.
"""

import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parent.parent
DOCUMENT: Final = ROOT / "docs" / "install.md"
RESULTS: Final = ROOT / "docs" / "install.json"
BEGIN: Final = "<!-- times: scripts/install_page.py --write -->\n"
END: Final = "<!-- /times -->\n"
KEYS: Final = ("name", "command", "seconds", "fetched", "cores", "end")
TITLES: Final = {
    "first ring": "a bare Debian 13",
    "agent": "from there to an agent of the person",
    "mail server": "a Debian 13 with Postfix",
}

Row = dict[str, Any]


def rows(text: str) -> list[Row]:
    """Read lines of JSON. A line that is not whole, because the run was ended, is left out."""
    return [row for line in text.splitlines() for row in _row(line)]


def _row(line: str) -> Iterator[Row]:
    try:
        row = json.loads(line)
        yield {key: row[key] for key in KEYS}
    except (ValueError, KeyError, TypeError):
        return


def merged(kept: Iterable[Row], run: Iterable[Row]) -> list[Row]:
    """Put the times of a run in the place of those that they renew.

    Args:
        kept: the times so far.
        run: the lines of the run, or of several.

    Returns:
        For each block that is timed, the lines of its last whole run.
    """
    kept, run = list(kept), list(run)
    found = []
    for name in TITLES:
        found += _last(
            [row for row in kept if row["name"] == name]
            + [row for row in run if row["name"] == name]
        )
    return found


def _last(of_block: list[Row]) -> list[Row]:
    """Return the lines of a block's last whole run."""
    whole: list[Row] = []
    lines: list[Row] = []
    for row in of_block:
        lines.append(row)
        if row["end"]:
            whole, lines = lines, []
    return whole


def table(found: Iterable[Row]) -> str:
    """Return the table.

    Args:
        found: the times, as `merged` returns them.
    """
    found = list(found)
    cores = ", ".join(str(number) for number in sorted({row["cores"] for row in found}))
    lines = [f"| on {cores} cores | s | from Debian's mirror |", "| --- | --- | --- |"]
    for name, title in TITLES.items():
        lines += _lines(title, [row for row in found if row["name"] == name])
    return "\n".join(lines) + "\n"


def _lines(title: str, block: list[Row]) -> Iterator[str]:
    if block:
        yield f"| **{title}** | | |"
    for row in block:
        fetched = f"{row['fetched']} MB" if row["fetched"] else ""
        if row["end"]:
            yield f"| {row['command']}, in all | {row['seconds']} | |"
        else:
            yield f"| `{row['command'].replace('|', '&#124;')}` | {row['seconds']} | {fetched} |"


def page() -> str:
    """Return docs/install.md as it is to be."""
    before, _, rest = DOCUMENT.read_text().partition(BEGIN)
    after = rest.partition(END)[2]
    return before + BEGIN + table(rows(RESULTS.read_text())) + END + after


def main(arguments: list[str]) -> int:
    """Write the table, or compare it; return the exit code."""
    if arguments[:1] == ["--results"] and len(arguments) == 2:
        kept = rows(RESULTS.read_text()) if RESULTS.exists() else []
        found = merged(kept, rows(Path(arguments[1]).read_text()))
        RESULTS.write_text("".join(json.dumps(row) + "\n" for row in found))
    elif arguments not in ([], ["--write"]):
        print(__doc__, file=sys.stderr)
        return 64
    wanted = page()
    if arguments:
        DOCUMENT.write_text(wanted)
    elif DOCUMENT.read_text() != wanted:
        print("docs/install.md: run: python scripts/install_page.py --write", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
