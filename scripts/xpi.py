"""Build the add-on for Thunderbird: `python scripts/xpi.py FILE`. `make xpi` runs it.

It needs the standard library only. `mailbell install --thunderbird --file FILE` writes the same.
"""

import sys
from pathlib import Path

from mailbell.addon.sources import addon


def main() -> int:
    """Build the add-on.

    Returns:
        The exit code.
    """
    if len(sys.argv) != 2:
        print("usage: python scripts/xpi.py FILE", file=sys.stderr)
        return 64
    Path(sys.argv[1]).write_bytes(addon())
    return 0


if __name__ == "__main__":
    sys.exit(main())
