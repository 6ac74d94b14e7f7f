"""Reads a manual page in man(7)'s language, as `scripts/manual` writes it."""

import re
from pathlib import Path
from typing import Final

__all__ = ["MAN", "part", "read", "terms", "text_of"]

MAN: Final = Path(__file__).resolve().parents[2] / "man"
_NAMED: Final = {r"\-": "-", r"\(aq": "'", r"\(ti": "~", r"\(ga": "`", r"\(ha": "^", r"\&": ""}


def read(name: str) -> str:
    """Return the text of a page in man/, such as `mailbell.1`."""
    return (MAN / f"man{name[-1]}" / name).read_text(encoding="ascii")


def text_of(words: str) -> str:
    """Return words without roff's escapes."""
    for written, meant in _NAMED.items():
        words = words.replace(written, meant)
    return re.sub(r"\\f[BIR]", "", words).replace(r"\(rs", "\\")


def part(page: str, heading: str) -> str:
    """Return what is below a heading, up to the next one of its level or a higher one."""
    level = "SH" if f"\n.SH {heading}\n" in page else "SS"
    below = page.partition(f"\n.{level} {heading}\n")[2]
    assert below, heading
    return re.split(r"(?m)^\.SH|^\.SS" if level == "SS" else r"(?m)^\.SH", below)[0]


def terms(page: str, heading: str) -> dict[str, str]:
    """Return the entries of a list of terms below a heading, and what is said about each."""
    found: dict[str, str] = {}
    for entry in f"\n{part(page, heading)}".split("\n.TP\n")[1:]:
        term, *lines = re.split(r"\n(?=\.(?:PP|SS|IP|RS))", entry)[0].strip("\n").split("\n")
        assert text_of(term) not in found, term
        found[text_of(term)] = text_of(" ".join(lines))
    return found
