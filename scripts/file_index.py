"""Print what each file is for: the first sentence of its docstring, for docs/architecture.md.

`python scripts/file_index.py` prints the section, and with `--write` puts it into the
document. A test compares the two.
"""

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent
DOCUMENT: Final = ROOT / "docs" / "architecture.md"
BEGIN: Final = "<!-- files: scripts/file_index.py --write -->\n"
END: Final = "<!-- /files -->\n"
# The folders that the section shows, in its order.
ROOMS: Final = (
    *(
        "core",
        "varlink",
        "limits",
        "configuration",
        "cluster",
        "syscalls",
        "interfaces",
        "logs",
        "recipes",
    ),
    *("_sys", "sandbox", "serving", "client", "listener", "installation", "addon", "agent", "cli"),
)
FOLDERS: Final = (
    *(f"src/mailbell/{room}" for room in ROOMS),
    *(
        "fuzz",
        "fuzz/grammars",
        "bench",
        "bench/candidates",
        "bench/cluster",
        "bench/push",
        "bench/workloads",
        *("torture", "torture/faults", "torture/floods", "torture/inputs", "torture/kills"),
        *("torture/mutants", "torture/soak", "torture/targets"),
        "tests/system",
        "tests/sandbox",
        "tests/harness",
    ),
)


def sentence(path: Path) -> str:
    """Return the first sentence of a file's docstring, on one line.

    Args:
        path: the path of a Python file.
    """
    text = ast.get_docstring(ast.parse(path.read_text())) or ""
    first = text.partition("\n\n")[0].replace("\n", " ")
    return re.split(r"(?<=[.?])\s", first)[0].rstrip(".")


def section() -> Iterator[str]:
    """Yield the lines of the section, with their ends."""
    for folder in FOLDERS:
        files = sorted(path for path in (ROOT / folder).glob("*.py") if path.stem != "__init__")
        yield f"\n`{folder}/`\n\n"
        yield "| file | what it is for |\n| --- | --- |\n"
        for path in files:
            yield f"| `{path.name}` | {sentence(path).replace('|', '&#124;')} |\n"
    yield "\n"


def main() -> None:
    """Print the section, or write it into the document."""
    text = "".join(section())
    if sys.argv[1:] != ["--write"]:
        print(text, end="")
        return
    before, _, rest = DOCUMENT.read_text().partition(BEGIN)
    after = rest.partition(END)[2]
    DOCUMENT.write_text(f"{before}{BEGIN}{text}{END}{after}")


if __name__ == "__main__":
    main()
