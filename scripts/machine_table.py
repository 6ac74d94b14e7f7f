"""Write the tables of docs/machines.md from what real machines have shown.

    python scripts/machine_table.py              end with 1 if the tables are others
    python scripts/machine_table.py --write      write the tables
    python scripts/machine_table.py --results FILE
                                                 take a run's results, and write the tables

`make vm` notes a line for each machine and for each claim in .cache/machines.jsonl, and one at the
end of a whole run. docs/machines.json keeps the newest whole run of each machine.
"""

import json
import sys
import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parent.parent
DOCUMENT: Final = ROOT / "docs" / "machines.md"
RESULTS: Final = ROOT / "docs" / "machines.json"
MACHINES: Final = ROOT / "tests" / "machines" / "machines.toml"
BEGIN: Final = "<!-- machines: scripts/machine_table.py --write -->\n"
END: Final = "<!-- /machines -->\n"
FACTS: Final = ("kernel", "systemd", "python", "libc", "boot")
RESULT: Final = ("claim", "outcome", "reason", "test")
END_OF_RUN: Final = ("whole",)

Row = dict[str, Any]


def rows(text: str) -> list[Row]:
    """Read lines of JSON. A line that is not whole, because the run was ended, is left out."""
    return [row for line in text.splitlines() for row in _row(line)]


def _row(line: str) -> Iterator[Row]:
    try:
        row = json.loads(line)
        keys = FACTS if "kernel" in row else END_OF_RUN if "whole" in row else RESULT
        yield {key: row[key] for key in ("machine", *keys)}
    except (ValueError, KeyError, TypeError):
        return


def merged(kept: Iterable[Row], run: Iterable[Row]) -> list[Row]:
    """Put the results of a run in the place of those of the same machines.

    A machine whose run was ended, or had not all claims, stays as it was.
    """
    run = list(run)
    renewed = {row["machine"] for row in run if row.get("whole")}
    stay = [row for row in kept if row["machine"] not in renewed]
    return stay + [row for row in run if row["machine"] in renewed]


def tables(titles: dict[str, str], found: Iterable[Row]) -> str:
    """Return both tables.

    Args:
        titles: what the table calls each machine, in its order.
        found: facts and results.
    """
    found = list(found)
    facts = {row["machine"]: row for row in found if "kernel" in row}
    results = [row for row in found if "claim" in row]
    tried = {row["machine"] for row in found}
    names = [name for name in titles if name in tried]
    reasons = list(dict.fromkeys(row["reason"] for row in results if row["outcome"] == "skipped"))
    parts = [
        _line("machine", "Linux", "systemd", "Python", "glibc", "s from start to ssh"),
        _line(*["---"] * 6),
        *(_line(titles[name], *_facts(facts.get(name))) for name in names),
        "\n",
        _line("claim", *(titles[name] for name in names), "test"),
        _line(*["---"] * (len(names) + 2)),
        *_claims(names, results, reasons),
    ]
    parts += [f"\n{number}. {reason}" for number, reason in enumerate(reasons, 1)]
    if missing := [title for name, title in titles.items() if name not in tried]:
        parts.append(f"\n\nNot tried to the end yet: {', '.join(missing)}.")
    return "".join(parts).rstrip("\n") + "\n"


def _facts(facts: Row | None) -> list[str]:
    return [str(facts[key]) for key in FACTS] if facts else ["**did not boot**", *[""] * 4]


def _claims(names: list[str], results: list[Row], reasons: list[str]) -> Iterator[str]:
    for claim in dict.fromkeys(row["claim"] for row in results):
        of_it = [row for row in results if row["claim"] == claim]
        cells = [_cell([row for row in of_it if row["machine"] == name], reasons) for name in names]
        files = dict.fromkeys(row["test"].partition("::")[0].rpartition("/")[2] for row in of_it)
        yield _line(claim, *cells, ", ".join(f"`{file}`" for file in files))


def _cell(results: list[Row], reasons: list[str]) -> str:
    outcomes = {row["outcome"] for row in results}
    if "failed" in outcomes:
        return "**not shown**"
    skipped = {row["reason"] for row in results if row["outcome"] == "skipped"}
    numbers = ", ".join(
        str(number) for number, reason in enumerate(reasons, 1) if reason in skipped
    )
    if "passed" in outcomes:
        return f"in part ({numbers})" if numbers else "yes"
    return f"no ({numbers})" if numbers else ""


def _line(*cells: str) -> str:
    return "| " + " | ".join(cell.replace("|", "&#124;") for cell in cells) + " |\n"


def page() -> str:
    """Return docs/machines.md as it is to be."""
    before, _, rest = DOCUMENT.read_text().partition(BEGIN)
    after = rest.partition(END)[2]
    known = tomllib.loads(MACHINES.read_text())
    titles = {name: table["title"] for name, table in known.items()}
    return before + BEGIN + tables(titles, rows(RESULTS.read_text())) + END + after


def main(arguments: list[str]) -> int:
    """Write the tables, or compare them; return the exit code."""
    if arguments[:1] == ["--results"] and len(arguments) == 2:
        run = rows(Path(arguments[1]).read_text())
        kept = rows(RESULTS.read_text()) if RESULTS.exists() else []
        for name in {row["machine"] for row in run} - {
            row["machine"] for row in run if row.get("whole")
        }:
            print(f"{name}: its run is not whole, and is left out", file=sys.stderr)
        text = "".join(json.dumps(row) + "\n" for row in merged(kept, run))
        RESULTS.write_text(text)
    elif arguments not in ([], ["--write"]):
        print(__doc__, file=sys.stderr)
        return 64
    wanted = page()
    if arguments:
        DOCUMENT.write_text(wanted)
    elif DOCUMENT.read_text() != wanted:
        print("docs/machines.md: run: python scripts/machine_table.py --write", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
