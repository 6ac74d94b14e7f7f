"""Build Debian's packages: `python scripts/deb.py FOLDER`. `make deb` runs it.

They are built in a clean Debian 13, which is made on the first run and kept in .cache/roots. It has
the packages that debian/control names, and no network. lintian(1) looks at the result.
"""

import os
import shutil
import sys
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "tests"), str(ROOT)]


def main(arguments: list[str]) -> int:
    """Build the packages; return the exit code."""
    if len(arguments) != 1:
        print("usage: python scripts/deb.py FOLDER", file=sys.stderr)
        return os.EX_USAGE
    if os.geteuid() != 0:
        print("to make a clean Debian needs root", file=sys.stderr)
        return os.EX_NOPERM
    if not shutil.which("mmdebstrap"):
        print("this needs: apt-get install mmdebstrap", file=sys.stderr)
        return os.EX_UNAVAILABLE
    from packages.debs import BUILT, results

    folder = Path(arguments[0])
    folder.mkdir(parents=True, exist_ok=True)
    made = results()
    for each in sorted(path for form in BUILT for path in made.glob(form)):
        shutil.copy(each, folder)
        print(folder / each.name)
    return os.EX_OK


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
