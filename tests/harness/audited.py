"""Become a daemon, and report what Python does once it is locked in.

Run as a program, with the words of the daemon. `AUDITED_DOOR` is the module of its command;
mailbelld's without it. Every import, opened file, new
socket, thread, process and piece of compiled code is an audit event (PEP 578).
From the last step of the lock on each is a line in the file that
`AUDITED_REPORT` names, whatever it is, unless it is known to be harmless:

    EVENT by FUNCTION: ARGUMENTS

The file is mapped into memory before the lock, so that a report takes no system
call. Each line is there once, however often the event happens. With `AUDITED_TRACED` the
daemon does not notice that it is traced.

`AUDITED_BUGS` plants bugs, to show what the daemon does about them: a notification for
the account "faulty" raises an exception. With "fatal" or "memory" SIGHUP raises one too,
and then the process can only end.
"""

import mmap
import os
import sys
from importlib import import_module
from types import FrameType, NoneType
from typing import Final

PLAIN: Final = (str, bytes, int, NoneType)

# Events of code that only reads or allocates objects of this interpreter.
HARMLESS: Final = {
    "array.__new__", "builtins.id", "object.__getattr__", "sys._getframe",
    "sys.set_asyncgen_hook_finalizer", "sys.set_asyncgen_hook_firstiter",
}  # fmt: skip


class Report:
    """Lines in a file of fixed length."""

    def __init__(self, path: str) -> None:
        with open(path, "r+b") as file:
            self._memory = mmap.mmap(file.fileno(), 0)
        self._seen: set[str] = set()
        self._end = 0

    def add(self, line: str) -> None:
        data = line.encode(errors="backslashreplace") + b"\n"
        # If the file is full, its last byte says that lines are lost.
        if line not in self._seen:
            self._seen.add(line)
            room = len(self._memory) - self._end
            self._memory[self._end : self._end + min(room, len(data))] = data[:room]
            self._end += min(room, len(data))


class Hook:
    """See sys.addaudithook. A hook must not raise, and cannot be removed."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._locked = False
        self._reporting = False

    def __call__(self, event: str, arguments: tuple[object, ...]) -> None:
        if not self._locked and event == "open" and _is_proof(*arguments):
            self._locked = True
            event = "begins"
        if self._locked and not self._reporting and event not in HARMLESS:
            self._reporting = True  # the next calls make events themselves
            self._report.add(described(event, arguments))
            self._reporting = False


def _is_proof(path: object, _: object, flags: object) -> bool:
    """Tell the proof that the filter is loaded (`mailbell.sandbox.lock`), which is the last step.

    The walk to the local socket's folder begins at the root folder too, with O_NOFOLLOW.
    """
    return path == "/" and isinstance(flags, int) and not flags & os.O_NOFOLLOW


def described(event: str, arguments: tuple[object, ...]) -> str:
    frame: FrameType | None = sys._getframe(2)
    if event == "socket.__new__" and frame:  # by the constructor: who called that?
        frame = frame.f_back
    caller = frame.f_code.co_name if frame else "nobody"
    # Objects by their type: the name of a socket, for example, would take a system call.
    shown = [a if isinstance(a, PLAIN) else type(a).__name__ for a in arguments]
    return f"{event} by {caller}: {shown!r:.200}".replace("\n", " ")


def plant_bugs(kind: str) -> None:
    """Plant bugs in the daemon before it is locked in."""
    from mailbell.listener._hub import AccountState, Hub
    from mailbell.logs.journal import Journal, Level

    ring, log = Hub._ring, Journal.log

    def faulty(hub: Hub, state: AccountState, *rest: object) -> None:
        if state.name == "faulty":
            raise RuntimeError("a planted bug")
        ring(hub, state, *rest)  # type: ignore[arg-type]  # passed on as it is

    def fatal(journal: Journal, level: Level, event: str, **fields: object) -> None:
        if event == "reload_ignored" and kind == "fatal":
            raise RuntimeError("a fatal planted bug")
        if event == "reload_ignored" and kind == "memory":
            raise MemoryError
        log(journal, level, event, **fields)

    Hub._ring = faulty  # type: ignore[method-assign, assignment]  # planted
    Journal.log = fatal  # type: ignore[method-assign, assignment]  # planted


if __name__ == "__main__":
    sys.addaudithook(Hook(Report(os.environ["AUDITED_REPORT"])))
    if "AUDITED_TRACED" in os.environ:
        from mailbell._sys import unneeded

        unneeded.replace_unneeded()  # as the daemon's own start does, before it loads the rest
        sys.path.insert(0, os.path.dirname(os.path.dirname(__file__)))
        from harness.traced import hide_the_tracer

        hide_the_tracer()
    door = import_module(os.environ.get("AUDITED_DOOR", "mailbell.cli.mailbelld"))
    if bugs := os.environ.get("AUDITED_BUGS"):
        plant_bugs(bugs)
    door.main()
