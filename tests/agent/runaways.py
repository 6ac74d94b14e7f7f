"""Commands that try to get away from the agent. Each ends by itself after some seconds."""

import fcntl
import os
import shutil
import subprocess
from pathlib import Path
from textwrap import dedent
from typing import Final

import pytest
from agent.commands import python

__all__ = ["RUNAWAYS", "comet", "commanded", "is_free", "needs_compiler", "runaway"]

COMPILER: Final = os.environ.get("CC", "cc")

needs_compiler = pytest.mark.skipif(shutil.which(COMPILER) is None, reason="there is no C compiler")

# Locks the file of its argument for as long as it or a descendant lives.
_BEGINNING: Final = """
import ctypes, fcntl, os, platform, time, threading
note = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
fcntl.flock(note, fcntl.LOCK_SH)
libc = ctypes.CDLL(None)
end = time.monotonic() + 20
SYS_CLONE, SYS_EXIT = (220, 93) if platform.machine() == "aarch64" else (56, 60)

def clone(flags):
    return libc.syscall(*map(ctypes.c_long, (SYS_CLONE, flags, 0, 0, 0, 0)))

def deaf():
    signal.signal(signal.SIGTERM, signal.SIG_IGN)

def fork(function):
    if os.fork() == 0:
        try:
            function()
        finally:
            os._exit(0)

def chain(leave):
    '''Go on in a child, again and again.'''
    while time.monotonic() < end:
        if os.fork():
            os._exit(0)
        leave()

def hold(prepare=lambda: None):
    '''Be prepared, and stay until the end.'''
    prepare()
    os.write(note, b".")
    while time.monotonic() < end:
        select.select([], [], [], 1)

def when_prepared(number=1):
    while os.fstat(note).st_size < number:
        time.sleep(0.001)
"""

# What a command may do, by the name of the test. It ends with exit code 4.
RUNAWAYS: Final = {
    "groups": "deaf(); fork(lambda: chain(lambda: os.setpgid(0, 0)))",
    "sessions": "deaf(); fork(lambda: chain(os.setsid))",
    "forks on": "deaf(); fork(lambda: chain(lambda: None))",
    "a double fork": """
        fork(lambda: (os.setsid(), fork(hold)))
        when_prepared()
    """,
    "a session": "fork(lambda: hold(lambda: (deaf(), os.setsid()))); when_prepared()",
    "stopped": """
        def stay():
            os.setsid()
            os.write(note, b".")
            os.kill(os.getpid(), signal.SIGSTOP)
            hold()
        fork(stay)
        when_prepared()
    """,
    "groups of groups": """
        def deeper(depth):
            os.setpgid(0, 0)
            deaf()
            if depth:
                fork(lambda: deeper(depth - 1))
            hold()
        fork(lambda: deeper(20))
        when_prepared(21)
    """,
    # It adopts orphans itself: PR_SET_CHILD_SUBREAPER.
    "another who adopts": """
        def stay():
            libc.prctl(36, 1, 0, 0, 0)
            fork(lambda: fork(lambda: hold(lambda: (deaf(), os.setsid()))))
            hold(lambda: (deaf(), os.setsid()))
        fork(stay)
        when_prepared(2)
    """,
    # clone(2) with CLONE_PARENT: a child of whoever is the parent of the command.
    "a brother": """
        if clone(0x8000 | signal.SIGCHLD) == 0:
            hold(lambda: (deaf(), os.setsid()))
        when_prepared()
    """,
    # clone(2) without a signal at its end: wait(2) does not show such a child by default.
    "a silent brother": """
        if clone(0x8000) == 0:
            hold(lambda: (deaf(), os.setsid()))
        when_prepared()
    """,
    # The first thread has ended, so the table says that the process is a zombie.
    "without its first thread": """
        def stay():
            deaf()
            threading.Thread(target=hold).start()
            libc.syscall(ctypes.c_long(SYS_EXIT), 0)
        fork(stay)
        when_prepared()
    """,
    # As soon as one is killed, another starts it again.
    "they restart each other": """
        def guard():
            deaf()
            os.setsid()
            os.write(note, b".")
            while time.monotonic() < end:
                fork(lambda: (deaf(), os.setsid(), hold()))
                os.wait()
        for _ in range(5):
            fork(lambda: fork(guard))
        when_prepared(10)
    """,
    # Whoever has a place forks again and again. The kernel frees the place of a process
    # that is killed, and another takes it.
    "as many as may": """
        def place():
            for number in range(12):
                try:
                    fcntl.lockf(note, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, number)
                    return True
                except OSError:
                    pass
            return False
        def breed():
            deaf()
            signal.signal(signal.SIGCHLD, signal.SIG_IGN)
            while time.monotonic() < end:
                if os.fork() == 0:
                    os.setpgid(0, 0)
                    if not place():
                        os._exit(0)
                    os.write(note, b".")
                time.sleep(0.002)
        fork(breed)
        when_prepared(12)
    """,
}


def runaway(name: str, note: Path) -> list[str]:
    """Return a command that locks a file as long as one of its processes lives."""
    return commanded(dedent(RUNAWAYS[name]) + "\nsys.exit(4)", note)


def commanded(does: str, note: Path) -> list[str]:
    """Return a command that locks a file and does something else."""
    return python(_BEGINNING + dedent(does), str(note))


def is_free(note: Path) -> bool:
    """Return whether no process of such a command lives."""
    with note.open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


def comet(directory: Path) -> str:
    """Compile comet.c."""
    program = directory / "comet"
    source = Path(__file__).with_name("comet.c")
    subprocess.run([COMPILER, "-O2", "-Wall", "-Werror", "-o", program, source], check=True)
    return str(program)
