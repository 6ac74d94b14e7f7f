"""Judges for `mailbell sender recipe --check` whether a way of a recipe is in force here."""

import os
import re
import shlex
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from mailbell._sys.trusted_path import find_weaknesses
from mailbell.cli._finding import Finding, Mark, ok
from mailbell.cli._recipe_machine import read_file, run
from mailbell.core.errors import ConfigurationError
from mailbell.recipes.facts import Facts
from mailbell.recipes.recipe import Way
from mailbell.recipes.state import (
    Answer,
    Printed,
    Verdict,
    in_force,
    judge_check,
    judge_command,
    judge_file,
)
from mailbell.recipes.steps import CommandStep, FileStep
from mailbell.sender.configuration import Configuration, parse

__all__ = ["Machine", "State", "examine"]

_MARKS: Final = {Answer.YES: Mark.OK, Answer.NO: Mark.FAIL, Answer.UNKNOWN: Mark.WARN}
_SENDER_FILE: Final = "/etc/mailbell/sender.toml"
_HOOKS_PLACE: Final = Facts().socket  # where mailbell-hook looks without --socket


@dataclass(frozen=True, slots=True)
class Machine:
    """What is known of this machine.

    Attributes:
        facts: what the placeholders stand for.
        configuration: the sender's; None: see `lack`.
        lack: why the configuration cannot be read.
    """

    facts: Facts
    configuration: Configuration | None
    lack: str = ""


@dataclass(frozen=True, slots=True)
class State:
    """What was found of one way.

    Attributes:
        answer: whether its steps are in force. UNKNOWN also if they are, and it cannot be told
            whether something else that it needs is missing.
        steps: what was found of each step that can be seen.
        more: what else it needs; empty unless some of its steps are in force, and none is not.
    """

    answer: Answer
    steps: tuple[Finding, ...]
    more: tuple[Finding, ...]

    @property
    def whole(self) -> bool:
        """Whether it is in force, and nothing that it needs is missing."""
        return self.answer is Answer.YES and all(one.mark is not Mark.FAIL for one in self.more)


def examine(way: Way, machine: Machine) -> State:
    """Look at the machine for one way of a recipe. Nothing is changed.

    Args:
        way: the way.
        machine: what is known of this machine.
    """
    verdicts = [
        verdict
        for step in way.steps(machine.facts)
        if (verdict := _verdict(step, machine)) is not None
    ]
    answer = in_force(verdicts)
    steps = tuple(map(_finding, verdicts))
    begun = any(verdict.answer is Answer.YES for verdict in verdicts)
    if answer is Answer.NO or not begun:
        return State(answer, steps, ())
    checks = [judge_check(check, run(check.command)) for check in way.checks(machine.facts)]
    trusted = list(_configured(way, machine))
    more = (*map(_finding, checks), *_needs(way, machine), *map(_finding, trusted))
    # What is known to be wrong counts more than what cannot be told.
    if all(one.mark is not Mark.FAIL for one in more):
        answer = in_force([*verdicts, *checks, *trusted])
    return State(answer, steps, more)


def _finding(verdict: Verdict) -> Finding:
    return Finding(_MARKS[verdict.answer], verdict.what, verdict.remedy)


def _verdict(step: FileStep | CommandStep, machine: Machine) -> Verdict | None:
    if isinstance(step, CommandStep):
        return judge_command(step, run(step.shows) if step.shows else Printed())
    if step.path == _SENDER_FILE:
        return _sender_verdict(step, machine)
    return judge_file(step, read_file(step.path))


def _sender_verdict(step: FileStep, machine: Machine) -> Verdict:
    """Judge keys of the sender by what they mean: an array may have more than the recipe's."""
    if machine.configuration is None:
        return Verdict(Answer.UNKNOWN, machine.lack, "run: mailbell sender check")
    try:
        wanted = parse(f"[listen]\n{step.text}".encode()).listen
    except ConfigurationError:  # lines of another table
        return judge_file(step, read_file(step.path))
    unset = Configuration().listen
    for name in wanted.__struct_fields__:
        value, present = getattr(wanted, name), getattr(machine.configuration.listen, name)
        enough = set(value) <= set(present) if isinstance(value, tuple) else value == present
        if value != getattr(unset, name) and not enough:
            remedy = f"write the line, and restart mailbell-sender: {' '.join(step.lines)}"
            return Verdict(Answer.NO, f"listen.{name} is not as in the recipe", remedy)
    return Verdict(Answer.YES, f"{_SENDER_FILE} has what it needs")


def _needs(way: Way, machine: Machine) -> Iterator[Finding]:
    if "hook" in way.uses:
        yield from _program(machine.facts.hook)
    for name in _shipped(way, machine.facts):
        yield from _program(name)
    if way.uses & {"hook", "socket", "files"}:
        yield from _hooks_socket(way, machine)
    if "cyrus" in way.uses:
        yield _socket(machine.facts.cyrus, 0)


def _shipped(way: Way, facts: Facts) -> list[str]:
    """Return the files of mailbell that the steps name."""
    text = "\n".join(map(str, way.steps(facts)))
    return sorted(set(re.findall(rf"{re.escape(facts.files)}/[A-Za-z0-9._-]+", text)))


def _program(path: str) -> Iterator[Finding]:
    """Judge a file that other users execute or load."""
    try:
        status = os.stat(path)
    except OSError as error:
        what = f"{path}: {(error.strerror or str(error)).lower()}"
        yield Finding(Mark.FAIL, what, "install mailbell, or correct the path")
        return
    if not stat.S_ISREG(status.st_mode):
        yield Finding(Mark.FAIL, f"{path} is no regular file", "install mailbell again")
        return
    faults = [*_unusable(path, status.st_mode), *_open_to_others(path, status.st_mode)]
    yield from faults or [ok(f"{path} is there")]


def _unusable(path: str, mode: int) -> Iterator[Finding]:
    wanted = 0o005 if (read_file(path).text or "").startswith("#!") else 0o004
    if mode & wanted != wanted:
        remedy = f"chmod {'755' if wanted & 1 else '644'} {shlex.quote(path)}"
        yield Finding(Mark.FAIL, f"other users may not use {path}", remedy)
    folder = os.path.dirname(os.path.realpath(path))
    while True:
        if not os.stat(folder).st_mode & stat.S_IXOTH:
            what = f"other users may not enter {folder}, where {os.path.basename(path)} is"
            yield Finding(Mark.FAIL, what, "install mailbell in a folder such as /opt/mailbell")
        if folder == "/":
            return
        folder = os.path.dirname(folder)


def _open_to_others(path: str, mode: int) -> Iterator[Finding]:
    """Find users who could replace a file that all deliveries execute."""
    if mode & (stat.S_IWGRP | stat.S_IWOTH):
        what = f"other users may write {path}, which every delivery executes"
        yield Finding(Mark.FAIL, what, f"chmod go-w {shlex.quote(path)}")
    try:
        weaknesses = find_weaknesses(path, whole=True)
    except OSError:  # it was removed meanwhile
        return
    for weakness in weaknesses:
        yield Finding(Mark.WARN, f"{weakness}, who could replace {path}", weakness.remedy)


def _hooks_socket(way: Way, machine: Machine) -> Iterator[Finding]:
    yield _socket(machine.facts.socket, 0o002)
    if "socket" not in way.uses and machine.facts.socket != _HOOKS_PLACE:
        what = f"listen.hook is {machine.facts.socket}, and the hook looks at {_HOOKS_PLACE}"
        remedy = f"leave listen.hook out in {_SENDER_FILE}, and restart mailbell-sender"
        yield Finding(Mark.FAIL, what, remedy)


def _socket(path: str, wanted: int) -> Finding:
    try:
        mode = os.stat(path).st_mode
    except OSError as error:
        what = f"{path}: {(error.strerror or str(error)).lower()}, so nobody is rung"
        return Finding(Mark.FAIL, what, "start mailbell-sender; run: mailbell sender check")
    if not stat.S_ISSOCK(mode):
        return Finding(Mark.FAIL, f"{path} is no socket", "remove it, and start mailbell-sender")
    if mode & wanted != wanted:
        what = f"other users may not write to {path}"
        return Finding(Mark.FAIL, what, "restart mailbell-sender, which sets its permissions")
    return ok(f"{path} is there")


def _configured(way: Way, machine: Machine) -> Iterator[Verdict]:
    """Compare the users whom the sender trusts with those whom a way needs."""
    if not way.trusted:
        return
    if machine.configuration is None:
        yield Verdict(Answer.UNKNOWN, machine.lack, "run: mailbell sender check")
        return
    lacking = [name for name in way.trusted if name not in machine.configuration.listen.trusted]
    for name in lacking:
        remedy = f"add it in {_SENDER_FILE}, and restart mailbell-sender"
        yield Verdict(Answer.NO, f"listen.trusted does not name {name}", remedy)
    if not lacking:
        yield Verdict(Answer.YES, f"listen.trusted names {' and '.join(way.trusted)}")
