"""Writes fuzz/dictionaries/ from the grammars: `python -m fuzz.write_dictionaries`.

The fuzzer puts these words into inputs. Each target has a file in libFuzzer's form.
"""

from pathlib import Path
from typing import Final

from fuzz.grammars import GRAMMARS, grammar_of

__all__ = ["FOLDER", "dictionary"]

FOLDER: Final = Path(__file__).parent / "dictionaries"
_HEAD: Final = "# Written by `python -m fuzz.write_dictionaries`, from fuzz/grammars/.\n"
_PLAIN: Final = frozenset(range(0x20, 0x7F)) - frozenset(b'"\\')


def dictionary(target: str) -> str:
    """Returns the dictionary of a target.

    Args:
        target: its name.
    """
    return _HEAD + "".join(f'"{_escaped(word)}"\n' for word in sorted(grammar_of(target).words()))


def _escaped(word: bytes) -> str:
    return "".join(chr(byte) if byte in _PLAIN else f"\\x{byte:02X}" for byte in word)


def main() -> None:
    """Writes all of them, and removes those without a target."""
    FOLDER.mkdir(exist_ok=True)
    for path in FOLDER.glob("*.dict"):
        if path.stem not in GRAMMARS:
            path.unlink()
    for target in GRAMMARS:
        (FOLDER / f"{target}.dict").write_text(dictionary(target), encoding="ascii")


if __name__ == "__main__":
    main()
