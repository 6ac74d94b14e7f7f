"""Become mailbelld, and report what Python does once it is locked in.

Run as a program, with the words of mailbelld. Every import, opened file, new
socket, thread, process and piece of compiled code is an audit event (PEP 578).
From the last step of the lock on each is a line on standard error, whatever it
is, unless it is known to be harmless:

    audit EVENT by FUNCTION: ARGUMENTS

What happens before is of no interest: then all of it is permitted.

So that what the daemon does about bugs can be seen too, two are planted:
ringing the account "faulty" raises; and with `AUDITED_FATAL` in the environment
so does SIGHUP, where nothing but the end of the process can follow.
"""

import os
import sys
from types import FrameType, NoneType
from typing import Final

PLAIN: Final = (str, bytes, int, NoneType)

# Events of code that looks at, or allocates, nothing but objects of this interpreter.
HARMLESS: Final = {
    "array.__new__", "builtins.id", "object.__getattr__", "sys._getframe",
    "sys.set_asyncgen_hook_finalizer", "sys.set_asyncgen_hook_firstiter",
}  # fmt: skip

locked = False
reporting = False


def hook(event: str, arguments: tuple[object, ...]) -> None:
    """See sys.addaudithook. It must not raise, and cannot be taken away again."""
    global locked, reporting  # noqa: PLW0603 - a hook is told nothing but the event
    if not locked and event == "open" and arguments[0] == "/":
        # The proof that the filter is loaded (`mailbell._startup`): the last step.
        locked = True
        event = "begins"
    if locked and not reporting and event not in HARMLESS:
        reporting = True  # what follows makes events of its own
        report(event, arguments)
        reporting = False


def report(event: str, arguments: tuple[object, ...]) -> None:
    frame: FrameType | None = sys._getframe(2)
    if event == "socket.__new__" and frame:  # by the constructor: who called that?
        frame = frame.f_back
    caller = frame.f_code.co_name if frame else "nobody"
    # Objects by their type: what a socket is called, for one, must be asked of the kernel.
    shown = [a if isinstance(a, PLAIN) else type(a).__name__ for a in arguments]
    line = f"audit {event} by {caller}: {shown!r:.200}"
    os.write(2, line.encode(errors="replace") + b"\n")


def plant_bugs() -> None:
    """Make the daemon one with bugs, before it is locked in."""
    from mailbell._hub import AccountState, Hub
    from mailbell._journal import Journal, Level

    ring, log = Hub._ring, Journal.log

    def faulty(hub: Hub, state: AccountState, *rest: object) -> None:
        if state.name == "faulty":
            raise RuntimeError("a planted bug")
        ring(hub, state, *rest)  # type: ignore[arg-type]  # passed on as it is

    def fatal(journal: Journal, level: Level, event: str, **fields: object) -> None:
        if event == "reload_ignored" and "AUDITED_FATAL" in os.environ:
            raise RuntimeError("a fatal planted bug")
        log(journal, level, event, **fields)

    Hub._ring = faulty  # type: ignore[method-assign, assignment]  # planted
    Journal.log = fatal  # type: ignore[method-assign, assignment]  # planted


if __name__ == "__main__":
    sys.addaudithook(hook)
    from mailbell.cli import mailbelld

    plant_bugs()
    mailbelld.main()
