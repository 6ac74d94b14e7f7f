"""Programs of another architecture, run by QEMU's user emulation in namespaces of their own.

mmdebstrap(1) installs a userland, and packages run programs of theirs while they are installed.
The kernel runs them through binfmt_misc, of which each user namespace has its own since
Linux 6.7. So nothing of it is left on this host, not even after SIGKILL.

As a program: `foreign.py EMULATOR COMMAND...` runs a command so. Only root can.
"""

import ctypes
import os
import platform
import select
import signal
import sys
from pathlib import Path
from typing import Final

__all__ = ["EMULATORS_FROM", "HOST", "through"]

HOST: Final = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), "")
"""The architecture of this host, as Debian names it."""

EMULATORS_FROM: Final = "trixie"
"""The suite whose qemu-user serves: Debian 13 is the first where it needs no library, and its
programs take a seventh of the time of those of Debian 12."""

_EMULATORS: Final = {"arm64": "qemu-aarch64"}

# linux/sched.h, linux/prctl.h
CLONE_NEWNS, CLONE_NEWUSER, CLONE_NEWPID = 0x20000, 0x10000000, 0x20000000
PR_SET_PDEATHSIG: Final = 1

BINFMT: Final = b"/proc/sys/fs/binfmt_misc"
# An ELF program or library of 64 bits for aarch64 (183), whatever ABI of Linux it names, and the
# bits that count: Documentation/admin-guide/binfmt-misc.rst, elf(5).
_MAGIC: Final = b"\x7fELF\2\1\1" + bytes(9) + b"\2\0" + (183).to_bytes(2, "little")
_MASK: Final = b"\xff" * 7 + b"\0" + b"\xff" * 8 + b"\xfe" + b"\xff" * 3


def through(architecture: str, folder: Path) -> list[str]:
    """Return what to put before a command so that it can run programs of an architecture.

    Args:
        architecture: as Debian names it.
        folder: where Debian's package qemu-user is unpacked.
    """
    emulator = folder / "usr/bin" / _EMULATORS[architecture]
    return [sys.executable, "-B", __file__, str(emulator)]


def _main() -> int:
    emulator, *command = sys.argv[1:]
    apart, mapped = os.pipe(), os.pipe()
    pid = _fork()
    if not pid:
        _call("unshare", CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWPID)
        os.write(apart[1], b".")
        os.read(mapped[0], 1)
        os._exit(_enter(emulator, command))
    os.close(apart[1])
    if os.read(apart[0], 1):
        _map_every_user(pid)
        os.write(mapped[1], b".")
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def _enter(emulator: str, command: list[str]) -> int:
    """Run a command as the first process of the namespaces; return its exit code."""
    pid = _fork()
    if not pid:
        try:
            _call("mount", b"none", BINFMT, b"binfmt_misc", 0, None)
        except OSError as error:
            sys.exit(f"a namespace has its own binfmt_misc since Linux 6.7: {error}")
        # F: the kernel opens the emulator now, outside the userland. A colon in its own path would
        # end the field.
        opened = os.open(emulator, os.O_RDONLY | os.O_CLOEXEC)
        fields = (b"", b"emulator", b"M", b"", _escaped(_MAGIC), _escaped(_MASK))
        line = b":".join((*fields, b"/proc/self/fd/%d" % opened, b"F"))
        Path(os.fsdecode(BINFMT), "register").write_bytes(line)
        os.execvp(command[0], command)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def _fork() -> int:
    """Fork; the child ends with its parent, also if that has ended meanwhile."""
    watched, held = os.pipe()  # the parent has the end that is held for as long as it lives
    pid = os.fork()
    if not pid:
        _call("prctl", PR_SET_PDEATHSIG, signal.SIGKILL)
        os.close(held)
        if select.select([watched], [], [], 0)[0]:  # the end of file
            os._exit(1)
    os.close(watched)
    return pid


def _map_every_user(pid: int) -> None:
    """Give a new user namespace the users that this one has, each with its own number."""
    for name in ("uid_map", "gid_map"):
        ranges = (line.split() for line in Path(f"/proc/self/{name}").read_text().splitlines())
        lines = [f"{first} {first} {count}\n" for first, _, count in ranges]
        Path(f"/proc/{pid}/{name}").write_text("".join(lines))


def _escaped(data: bytes) -> bytes:
    return b"".join(b"\\x%02x" % byte for byte in data)


def _call(name: str, *arguments: object) -> None:
    if getattr(ctypes.CDLL(None, use_errno=True), name)(*arguments):
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")


if __name__ == "__main__":
    sys.exit(_main())
