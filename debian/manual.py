"""Write the manual pages: `python debian/manual.py FOLDER`.

Each page is what its program says with `--help`, so that there is one text. mailbell-hook has no
such option: a mail server may pass it any word. Its page is the beginning of its source.
"""

import ast
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import mailbell

HOOK: Final = Path(mailbell.__file__).with_name("hook.py")
PAGES: Final = {
    "mailbell.1": "runs a mail program when mail arrives, and shows what the daemons do",
    "mailbelld.8": "listens for new-mail notifications (RFC 4146)",
    "mailbell-sender.8": "rings the people whose mail has arrived (RFC 4146)",
    "mailbell-hook.1": "tells mailbell-sender of a delivery or a login",
}
PROGRAMS: Final = {
    "mailbelld": "from mailbell.cli.mailbelld import main; main()",
    "mailbell-sender": "from mailbell.cli.mailbell_sender import main; main()",
    "mailbell": "from mailbell.cli import main; main()",
}
WIDTH: Final = "78"
# A line of the list of commands.
COMMAND: Final = re.compile(r"^  (\S+)", re.MULTILINE)


def page(name: str) -> str:
    """Return a manual page in man(7)'s language.

    Args:
        name: one of `PAGES`, such as `mailbell.1`.
    """
    program, _, section = name.rpartition(".")
    lines = [
        f'.TH {program.upper()} {section} "" "mailbell {mailbell.__version__}"',
        ".SH NAME",
        f"{program} \\- {PAGES[name]}",
    ]
    for heading, text in _sections(program):
        lines += [f".SH {heading.upper()}", ".nf", *map(_literal, text.strip("\n").splitlines())]
        lines += [".fi"]
    return "\n".join(lines) + "\n"


def _sections(program: str) -> Iterator[tuple[str, str]]:
    if program == "mailbell-hook":
        yield "description", ast.get_docstring(ast.parse(HOOK.read_bytes())) or ""
        return
    yield from _commands(program)


def _commands(program: str, *path: str) -> Iterator[tuple[str, str]]:
    """Yield the help of a program or command, and of each command below it."""
    text = _help(program, *path)
    yield " ".join([program, *path]) if path else "usage", text
    for name in COMMAND.findall(text.partition("\nCommands:\n")[2].partition("\n\n")[0]):
        yield from _commands(program, *path, name)


def _help(program: str, *words: str) -> str:
    """Return what a program says about itself."""
    code = f"import sys; sys.argv = [{program!r}, *sys.argv[1:]]; {PROGRAMS[program]}"
    done = subprocess.run(  # noqa: S603 (the words are ours)
        [sys.executable, "-B", "-c", code, *words, "--help"],
        env={**os.environ, "COLUMNS": WIDTH, "TERM": "dumb", "LC_ALL": "C.UTF-8"},
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, check=True, timeout=60,
    )  # fmt: skip
    return done.stdout


def _literal(line: str) -> str:
    escaped = line.replace("\\", "\\e").replace("-", "\\-")
    return f"\\&{escaped}" if escaped[:1] in {".", "'"} else escaped


def main() -> None:
    """Write the pages."""
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for name in PAGES:
        (folder / name).write_text(page(name), encoding="utf-8")


if __name__ == "__main__":
    main()
