"""Judges from what was seen on a machine whether a recipe is in force there."""

import shlex
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

from mailbell.recipes.recipe import Check
from mailbell.recipes.steps import CommandStep, FileStep

__all__ = [
    "Answer",
    "File",
    "Printed",
    "Verdict",
    "in_force",
    "judge_check",
    "judge_command",
    "judge_file",
]

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
        missing: whether there is no such file, nor a link of this name.
        link: whether it is a link to a file that is missing.
        owner: the name of its owner.
        mode: its permissions.
    """

    text: str | None = None
    lack: str = ""
    missing: bool = False
    link: bool = False
    owner: str = ""
    mode: int = 0


@dataclass(frozen=True, slots=True)
class Printed:
    """What a command has printed.

    Attributes:
        text: on standard output; None: see `lack`.
        errors: on standard error.
        lack: why it printed nothing that counts, in words; empty: it did.
    """

    text: str | None = None
    errors: str = ""
    lack: str = ""


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
    if file.link:
        what = f"{step.path} is a link to a file that is missing"
        return Verdict(Answer.NO, what, f"remove it: {_as_owner(step, 'rm', step.path)}")
    if not file.missing:
        return Verdict(Answer.UNKNOWN, f"{step.path}: {file.lack}", "be root, or its owner")
    if step.lines:
        remedy = _written(step, "make it") if step.by else "make it, with its lines"
        return Verdict(Answer.NO, f"there is no {step.path}", remedy)
    return Verdict(Answer.YES, f"there is no {step.path}")


def _fault(step: FileStep, file: File, text: str) -> tuple[str, str]:
    """Return the first thing that is wrong with a file, and what to do; "": all is well."""
    if lines := step.missing(text):
        return f"lacks the line: {_cut(lines[0])}", _written(step, "add it")
    if lines := step.unwanted(text):
        return f"has the line: {_cut(lines[0])}", _taken_out(step)
    if line := step.overridden(text):
        return f"has a later line: {_cut(line)}", _taken_out(step)
    if step.owner and file.owner != step.owner:
        return f"belongs to {file.owner}", shlex.join(["chown", "-h", step.owner, step.path])
    if step.mode is not None and not _suffices(step, step.mode, file.mode):
        remedy = _as_owner(step, "chmod", f"{step.mode:04o}", step.path)
        return f"has the mode {file.mode:04o}", remedy
    return "", ""


def _suffices(step: FileStep, wanted: int, mode: int) -> bool:
    """Tell whether permissions are right. What a user reads, nobody else needs to read."""
    if not step.by:
        return mode == wanted
    return mode & ~wanted == 0 and mode & 0o700 == wanted & 0o700


def _as_owner(step: FileStep, *words: str) -> str:
    """Return a command that follows no link which a user made, to what the user may not do."""
    return shlex.join(["runuser", "-u", step.by, "--", *words] if step.by else words)


def _written(step: FileStep, what: str) -> str:
    return f"{what} as {step.by}: {_as_owner(step, 'tee', '-a', step.path)}" if step.by else what


def _taken_out(step: FileStep) -> str:
    return f"take it out, as {step.by}" if step.by else "take it out"


def judge_command(step: CommandStep, printed: Printed) -> Verdict | None:
    """Judge a step that is a command.

    Args:
        step: the step.
        printed: what the command printed that shows it. Standard error does not count.

    Returns:
        The verdict; None: no command can show the step.
    """
    if not step.shows:
        return None
    shows, command = shlex.join(step.shows), shlex.join(step.command)
    if printed.text is None:
        return Verdict(Answer.UNKNOWN, f"{shows}: {printed.lack}")
    if step.seen_in(printed.text):
        return Verdict(Answer.YES, f"{shows}: {_cut(step.expect)}")
    return Verdict(Answer.NO, f"{shows} does not say: {_cut(step.expect)}", command)


def judge_check(check: Check, printed: Printed) -> Verdict:
    """Judge what a way needs besides its steps.

    Args:
        check: what is looked for.
        printed: what its command printed. Standard error counts if nothing came on standard
            output: `smtpd -n` says there that all is well. An error is no proof that what the
            check forbids is absent.
    """
    command = shlex.join(check.command)
    if printed.text is None:
        return Verdict(Answer.UNKNOWN, f"{command}: {printed.lack}")
    errors = printed.errors.strip()
    if check.forbid and not printed.text and errors:
        return Verdict(Answer.UNKNOWN, f"{command}: {_cut(errors.splitlines()[0])}")
    if check.holds(printed.text or printed.errors):
        return Verdict(Answer.YES, f"{command}: as it must be")
    return Verdict(Answer.NO, check.say)


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
