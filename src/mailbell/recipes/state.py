"""Judges from what was seen on a machine whether a recipe is in force there."""

import shlex
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

from mailbell.recipes.steps import CommandStep, FileStep

__all__ = ["Answer", "File", "Verdict", "in_force", "judge_command", "judge_file"]

_SHOWN = 100  # characters of a line in a message


class Answer(Enum):
    """Whether a step is in force."""

    YES = "yes"
    NO = "no"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class File:
    """What was seen of a file.

    Attributes:
        text: what it holds; None: see `lack`.
        lack: why it was not read, in words; empty: it was.
        missing: whether there is no such file.
        owner: the name of its owner.
        mode: its permissions.
    """

    text: str | None = None
    lack: str = ""
    missing: bool = False
    owner: str = ""
    mode: int = 0


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a step is in force, and what to do if not.

    Attributes:
        answer: whether it is.
        what: what was seen; not escaped.
        remedy: what to do; empty: nothing, or nothing is known.
    """

    answer: Answer
    what: str
    remedy: str = ""


def judge_file(step: FileStep, file: File) -> Verdict:
    """Judge a step that puts lines into a file.

    Args:
        step: the step.
        file: what was seen of the file.
    """
    if file.text is None:
        return _unread(step, file)
    what, remedy = _fault(step, file, file.text)
    if what:
        return Verdict(Answer.NO, f"{step.path} {what}", remedy)
    return Verdict(Answer.YES, f"{step.path} has what it needs")


def _unread(step: FileStep, file: File) -> Verdict:
    if not file.missing:
        return Verdict(Answer.UNKNOWN, f"{step.path}: {file.lack}", "be root, or its owner")
    if step.lines:
        return Verdict(Answer.NO, f"there is no {step.path}", "make it, with its lines")
    return Verdict(Answer.YES, f"there is no {step.path}")


def _fault(step: FileStep, file: File, text: str) -> tuple[str, str]:
    """Return the first thing that is wrong with a file, and what to do; "": all is well."""
    if lines := step.missing(text):
        return f"lacks the line: {_cut(lines[0])}", "add it"
    if lines := step.unwanted(text):
        return f"has the line: {_cut(lines[0])}", "take it out"
    if step.owner and file.owner != step.owner:
        return f"belongs to {file.owner}", shlex.join(["chown", step.owner, step.path])
    if step.mode is not None and file.mode != step.mode:
        remedy = shlex.join(["chmod", f"{step.mode:04o}", step.path])
        return f"has the mode {file.mode:04o}", remedy
    return "", ""


def judge_command(step: CommandStep, output: str | None, lack: str = "") -> Verdict | None:
    """Judge a step that is a command.

    Args:
        step: the step.
        output: what the command printed that shows it; None: see `lack`.
        lack: why the command printed nothing that counts.

    Returns:
        The verdict; None: no command can show the step.
    """
    if not step.shows:
        return None
    shows, command = shlex.join(step.shows), shlex.join(step.command)
    if output is None:
        return Verdict(Answer.UNKNOWN, f"{shows}: {lack}")
    if step.expect in output:
        return Verdict(Answer.YES, f"{shows}: {_cut(step.expect)}")
    return Verdict(Answer.NO, f"{shows} does not say: {_cut(step.expect)}", command)


def in_force(verdicts: Iterable[Verdict]) -> Answer:
    """Judge a whole way.

    Args:
        verdicts: those on its steps.

    Returns:
        YES if each of them is; NO if one is not; UNKNOWN if that cannot be told, also
        without any verdict.
    """
    answers = {verdict.answer for verdict in verdicts}
    if Answer.NO in answers:
        return Answer.NO
    return Answer.YES if answers == {Answer.YES} else Answer.UNKNOWN


def _cut(line: str) -> str:
    line = line.strip()
    return line if len(line) <= _SHOWN else line[:_SHOWN] + "..."
