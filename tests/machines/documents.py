"""Commands as the documents tell them, to run them word by word."""

import re
from pathlib import Path
from typing import Final

__all__ = ["commands", "exposure"]

ROOT: Final = Path(__file__).resolve().parents[2]


def commands(document: str, containing: str) -> list[str]:
    """Return the commands of the first block of a document that contains a text.

    Args:
        document: its path in the project.
        containing: a part of the block.

    Returns:
        Its lines, without the prompts and comments.
    """
    text = (ROOT / document).read_text()
    for block in re.findall(r"^```(?:console|sh)\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
        if containing in block:
            prompts = any(line.startswith(("# ", "$ ")) for line in block.splitlines())
            lines = [line for line in block.splitlines() if not prompts or line[:2] in {"# ", "$ "}]
            return [re.sub(r"^[#$] | {2,}# .*$", "", line) for line in lines]
    raise LookupError(f"{document} has no block with {containing!r}")


def exposure() -> str:
    """Return how docs/service.md says that systemd rates the unit of mailbell-sender, of 10."""
    text = (ROOT / "docs" / "service.md").read_text()
    (found,) = re.findall(r"systemd rates its unit ([0-9.]+) of 10", text)
    return str(found)
