"""Print which layers stop which attack, for docs/sandbox.md.

python tests/sandbox/attacks/table.py
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent.parent))

from sandbox.attacks.matrix import only_one_stops, table

if __name__ == "__main__":
    print("\n".join(table()))
    print(f"\n{len(only_one_stops())} are stopped by one layer only.", file=sys.stderr)
