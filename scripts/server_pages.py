"""Write docs/servers/: a page for each mail server from its recipe, and the table of all.

`python scripts/server_pages.py` prints which files differ, and ends with 1 if any does.
`--write` writes them, and removes the pages of servers that have no recipe. The table is made
from docs/servers/results.json, which the tests of the mail servers write: an object for each
line, or one array of objects. Without that file the table says "not run yet".
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from mailbell.recipes.page import Result, overview, page
from mailbell.recipes.recipe import parse

ROOT: Final = Path(__file__).resolve().parent.parent
FOLDER: Final = ROOT / "docs" / "servers"
RECIPES: Final = ROOT / "src" / "mailbell" / "recipes"


def results(path: Path = FOLDER / "results.json") -> list[Result]:
    """Read what the tests have measured.

    Args:
        path: the file.

    Returns:
        An object for each thing measured; none if there is no such file. A line that is not
        whole, because the run was ended, is left out.
    """
    text = path.read_text() if path.exists() else ""
    try:
        whole = json.loads(text)
        rows = whole if isinstance(whole, list) else [whole]
    except ValueError:
        rows = [row for line in text.splitlines() for row in _row(line)]
    return [row for row in rows if isinstance(row, dict)]


def _row(line: str) -> Iterator[object]:
    try:
        yield json.loads(line)
    except ValueError:
        return


def pages() -> dict[str, str]:
    """Return every page by the name of its file."""
    recipes = [parse(file.read_bytes()) for file in sorted(RECIPES.glob("*.toml"))]
    written = {f"{recipe.name}.md": page(recipe) for recipe in recipes}
    return written | {"README.md": overview(recipes, results())}


def differing() -> list[str]:
    """Return the names of the files that do not say what the recipes say."""
    expected = pages()
    present = {path.name: path.read_text() for path in FOLDER.glob("*.md")}
    return sorted(name for name in expected | present if expected.get(name) != present.get(name))


def main() -> int:
    """Print or write the pages."""
    differs = differing()
    if sys.argv[1:] != ["--write"]:
        for name in differs:
            print(f"docs/servers/{name} is not what its recipe says: run with --write")
        return 1 if differs else 0
    FOLDER.mkdir(exist_ok=True)
    expected = pages()
    for name in differs:
        path = FOLDER / name
        if name in expected:
            path.write_text(expected[name])
        else:
            path.unlink()
    return 0


if __name__ == "__main__":
    sys.exit(main())
