"""The files of `policy/` for a mailbell that is in another place than /opt/mailbell.

As they stand in `policy/`, a unit and a profile of AppArmor name /opt/mailbell, so that a person
can copy them. `placed` writes the place where mailbell really is. A file that `mailbell install`
has written has a mark, so that `mailbell uninstall` removes no file of a person.
"""

import re
from collections.abc import Iterator, Sequence
from typing import Final

from mailbell.core.errors import ConfigurationError
from mailbell.core.escape import printable

__all__ = ["HOME", "MARK", "is_marked", "is_plain", "marked", "placed"]

HOME: Final = "/opt/mailbell"
"""The folder of mailbell that the files of `policy/` name."""

MARK: Final = "# Written by `mailbell install`, which overwrites changes; `uninstall` removes it.\n"
"""The line that tells a file of `mailbell install` from one of a person."""

_USR: Final = "/usr"
_START: Final = f"ExecStart={HOME}/bin/"
_PROGRAM: Final = f"{HOME}/bin/mailbell"
_CODE: Final = f"ExecPaths={_USR} {HOME}"
# Without a character that has a meaning for systemd (systemd.syntax(7), systemd.unit(5)) or for
# AppArmor (apparmor.d(5)).
_PLAIN: Final = re.compile(r"(?:/(?!\.{1,2}(?:/|\Z))[A-Za-z0-9_.+-]+)+", re.ASCII)


def is_plain(folder: str) -> bool:
    """Tell whether a unit and a profile can name a folder as it is.

    Args:
        folder: any text.

    Returns:
        Whether it is an absolute path whose names have letters, digits and `_ . + -` of ASCII
        only, without `.` and `..`, and without a `/` at its end.
    """
    return _PLAIN.fullmatch(folder) is not None


def placed(text: str, *, programs: str, code: Sequence[str]) -> str:
    """Write a file of `policy/` for the place where mailbell is.

    Args:
        text: a unit, a drop-in, a profile of AppArmor, or any other file of `policy/`.
        programs: the folder of mailbelld and mailbell-sender.
        code: the folders of mailbell, of its dependencies and of Python. /usr may be left out:
            every service needs the C library that is there.

    Returns:
        The text, with these folders for /opt/mailbell: `ExecStart=` and `ExecPaths=` of a
        service, and the lines of a profile. The rest is the same.

    Raises:
        ConfigurationError: a folder has a character that systemd or AppArmor would misread.
    """
    for folder in (programs, *code):
        if not is_plain(folder):
            what = f"the folder {printable(folder)} of mailbell cannot stand in a file of systemd"
            raise ConfigurationError(what, "install mailbell in a folder such as /opt/mailbell")
    others = [folder for folder in dict.fromkeys(code) if folder != _USR]
    lines = text.splitlines(keepends=True)
    return "".join(new for line in lines for new in _lines(line, programs, others))


def _lines(line: str, programs: str, others: Sequence[str]) -> Iterator[str]:
    """Yield what stands in the place of one line."""
    if line.startswith(_START):
        yield f"ExecStart={programs}/{line.removeprefix(_START)}"
    elif line.startswith(_CODE):
        more = [folder for folder in others if not folder.startswith(f"{_USR}/")]
        yield " ".join([f"ExecPaths={_USR}", *more]) + line.removeprefix(_CODE)
    elif line.lstrip().startswith(_PROGRAM):  # a rule of AppArmor: Python reads the program
        yield line.replace(f"{HOME}/bin", programs, 1)
    elif line.lstrip().startswith(HOME):  # another rule
        for folder in others:
            yield line.replace(HOME, folder, 1)
    else:
        yield line


def marked(text: str) -> str:
    """Put the mark into a file, as its first line, or below the interpreter of a program.

    Args:
        text: the text of the file, without the mark.

    Returns:
        The text with the mark.
    """
    head, rest = _split(text)
    return head + MARK + rest


def is_marked(text: str) -> bool:
    """Tell whether `mailbell install` has written a file.

    Args:
        text: the text of the file.

    Returns:
        Whether the mark stands where `marked` puts it.
    """
    return _split(text)[1].startswith(MARK)


def _split(text: str) -> tuple[str, str]:
    """Split the line that names the interpreter of a program from the rest."""
    if not text.startswith("#!"):
        return "", text
    head, end, rest = text.partition("\n")
    return head + end, rest
