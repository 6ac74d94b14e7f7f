"""The JavaScript of the add-on for Thunderbird, run in V8 without Thunderbird.

The files of `core/` need nothing of a mail program: no socket, no clock and no timer. Here they
get an engine that has none of these, so a file that used one would fail.
"""

import json
import re
import warnings
from functools import cache
from pathlib import Path
from typing import Any, Final

with warnings.catch_warnings():
    # Its structure says _pack_ without _layout_, which Python 3.14 does not like.
    warnings.filterwarnings("ignore", "Due to '_pack_'", DeprecationWarning)
    from py_mini_racer import MiniRacer

__all__ = ["ADDON", "HARNESS", "WORLD", "Script", "core_files", "loaded", "parts"]

ADDON: Final = Path(__file__).parent.parent.parent / "clients" / "thunderbird"
"""The files of the add-on."""

HARNESS: Final = Path(__file__).parent
"""The scripts of tests that stand for Thunderbird."""

WORLD: Final = HARNESS / "world.js"
"""A Thunderbird of tests: timers, a socket and accounts that do what a test says."""

# The language itself has two things that act. The files must not use them.
_NOTHING_ACTS: Final = """
delete globalThis.Date;
Math.random = () => { throw new Error("randomness is an argument"); };
delete globalThis.WebAssembly;
"""


class Script:
    """An engine with some files loaded.

    Args:
        files: what is loaded, in this order.
    """

    def __init__(self, *files: Path) -> None:
        self._engine = MiniRacer()
        self._engine.eval(_NOTHING_ACTS)
        for file in files:
            self._engine.eval(file.read_text())

    def __call__(self, function: str, *arguments: Any) -> Any:
        """Call a function with values of JSON, and return what it returns.

        Args:
            function: an expression, such as `(name) => isAccountName(name)`.
            arguments: what it gets.
        """
        values = ",".join(json.dumps(argument) for argument in arguments)
        # What is undefined has no JSON. It counts as null.
        text = self._engine.eval(f"JSON.stringify((({function})({values})) ?? null)")
        assert isinstance(text, str)
        return json.loads(text)

    def load_within(self, file: Path) -> None:
        """Load a file whose names are its own; `this` is the global object all the same."""
        self.load_text_within(file.read_text())

    def load_text_within(self, text: str) -> None:
        """Load a script whose names are its own."""
        self._engine.eval(f"(function () {{{text}}}).call(globalThis)")

    def used(self) -> int:
        """Return how many bytes the engine's values take, after it has forgotten the unused."""
        self._engine.low_memory_notification()
        stats = json.loads(json.dumps(self._engine.heap_stats()))
        return int(stats["used_heap_size"])


def parts() -> list[str]:
    """Return the files that the add-on loads, in its order."""
    text = (ADDON / "mailbell.js").read_text()
    found = re.search(r"const PARTS = \[(.*?)\];", text, re.DOTALL)
    assert found
    return re.findall(r'"([^"]+)"', found[1])


def core_files() -> list[Path]:
    """Return the files that decide, in the order in which the add-on loads them."""
    return [ADDON / part for part in parts() if part.startswith("core/")]


@cache
def loaded() -> Script:
    """Return an engine with all that decides, and the world of tests. It is made once."""
    return Script(*core_files(), WORLD)
