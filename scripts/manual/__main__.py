"""Write the manual pages: `python -m scripts.manual --write`, or into a folder that is named.

man/ is the folder for `--write`. It is part of the source, so that the build of a package needs
nothing for it; a test compares it with what is written now.
"""

import sys
from pathlib import Path

from scripts.manual.pages import PAGES, ROOT, page, path_of


def main(words: list[str]) -> int:
    """Write the pages; return the exit code."""
    if len(words) != 1 or (words[0][:1] == "-" and words[0] != "--write"):
        print("usage: python -m scripts.manual --write | FOLDER", file=sys.stderr)
        return 64
    folder = ROOT / "man" if words[0] == "--write" else Path(words[0])
    for name in PAGES:
        path = folder / path_of(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(page(name), encoding="ascii")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
