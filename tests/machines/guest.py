"""A machine that runs, as a test sees it: commands by ssh(1), files, its log, its boot."""

import itertools
import re
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest
from machines.description import Machine
from machines.emulator import Emulator, booted
from machines.kernel import Kernel
from machines.userland import USER, Keys

__all__ = ["SLOW", "USER", "Guest", "guest_on"]

SLOW: Final = 120.0
"""Seconds for what takes one or two on real hardware."""

_BOOT: Final = 400.0  # seconds until ssh answers, beside other load
_MARKS: Final = itertools.count(1)
_LATE: Final = -signal.SIGKILL  # the exit code of what did not end in time
_PAUSE: Final = 0.5  # seconds between two looks from outside


@dataclass
class Guest:
    """A machine that runs.

    Attributes:
        machine: what it is.
        kernel: what it runs.
        emulator: QEMU.
        boot: seconds from the start to the first answer of ssh.
    """

    machine: Machine
    kernel: Kernel
    emulator: Emulator
    folder: Path
    keys: Keys
    boot: float = 0.0

    def run(
        self,
        command: str,
        *,
        user: str = "root",
        stdin: str = "",
        check: bool = True,
        timeout: float = SLOW,
    ) -> str:
        """Run a line of sh(1) in the machine to its end; return all that it prints.

        Args:
            command: the line. A command of it that fails ends it, unless `check` is false.
            user: who runs it, with a session of logind.
            stdin: what it reads.
            check: whether another exit code than 0 fails the test.
            timeout: seconds after which the test fails.
        """
        line = f"set -e; {command}" if check else command
        done = self.ran(line, user=user, stdin=stdin, timeout=timeout)
        if check and done.returncode:
            pytest.fail(f"{command}: code {done.returncode}: {done.stdout.strip()}")
        return done.stdout

    def ran(
        self, command: str, *, user: str = "root", stdin: str = "", timeout: float = SLOW
    ) -> "subprocess.CompletedProcess[str]":
        """Run a line in the machine; return its exit code and output, which has both streams."""
        done = self._tried(command, user, stdin, timeout)
        if done.returncode == _LATE:
            pytest.fail(f"{command}: not ended within {timeout:.0f} s: {done.stdout.strip()}")
        return done

    def _tried(
        self, command: str, user: str = "root", stdin: str = "", timeout: float = SLOW
    ) -> "subprocess.CompletedProcess[str]":
        """Run a line in the machine; the exit code is _LATE if it does not end in time."""
        words = [*self._ssh(user), f"exec 2>&1; {command}"]
        try:
            return subprocess.run(
                words, input=stdin, check=False, text=True, errors="replace", timeout=timeout,
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            )  # fmt: skip
        except subprocess.TimeoutExpired as late:
            # Although text is asked for, this has bytes.
            said = bytes(late.stdout or b"").decode(errors="replace")
            return subprocess.CompletedProcess(words, _LATE, said)

    @contextmanager
    def started(self, command: str, *, user: str = "root") -> Iterator["subprocess.Popen[bytes]"]:
        """Run a line in the machine until the end of the block; its output is a pipe."""
        process = subprocess.Popen(
            [*self._ssh(user, "-tt"), command],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        try:
            yield process
        finally:
            process.kill()
            process.wait()
            for stream in (process.stdin, process.stdout):
                if stream:
                    stream.close()

    def write(self, path: str, text: str, *, user: str = "root") -> None:
        """Write a file of the machine; missing folders are made."""
        self.run(f'mkdir -p "$(dirname {path})" && cat >{path}', user=user, stdin=text)

    def put(self, source: Path, target: str) -> None:
        """Copy a file or a folder into a folder of the machine."""
        packed = subprocess.Popen(["tar", "-C", source.parent, "-cf", "-", source.name],
                                  stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)  # fmt: skip
        command = [
            *self._ssh("root"),
            f"mkdir -p {target} && tar -C {target} --no-same-owner -xf -",
        ]
        try:
            done = subprocess.run(command, stdin=packed.stdout, check=False, timeout=SLOW)
        finally:
            assert packed.stdout
            packed.stdout.close()
            packed.wait()
        assert done.returncode == 0

    def until(
        self,
        command: str,
        *,
        user: str = "root",
        seconds: float = SLOW,
    ) -> str:
        """Run a line again and again until it ends with 0; return what it printed then."""
        end = time.monotonic() + seconds
        said = ""
        while (
            done := self._tried(command, user, timeout=max(1, end - time.monotonic()))
        ).returncode:
            said = done.stdout.strip() or said
            if time.monotonic() > end:
                pytest.fail(f"{command}: not within {seconds:.0f} s: {said}")
            time.sleep(_PAUSE)  # the machine is emulated: to ask more often would slow it
        return done.stdout

    def journal(self, unit: str, *more: str) -> str:
        """Return what a unit has logged since the machine's start."""
        return self.run(f"journalctl --no-pager -o cat -b -u {unit} {' '.join(more)}")

    def property(self, unit: str, name: str) -> str:
        """Return a property of a unit, as systemctl(1) shows it."""
        return self.run(f"systemctl show -P {name} {unit}").strip()

    def kernel_mark(self) -> str:
        """Return where the kernel's own log ends now."""
        mark = f"mark {next(_MARKS)} of the claims"
        self.run(f"echo '{mark}' >/dev/kmsg")
        return mark

    def denials(self, mark: str) -> list[str]:
        """Return what AppArmor has denied since a mark of the kernel's log.

        The test fails if the kernel has left out or overwritten a record meanwhile.
        """
        _, found, since = self.run("dmesg").partition(mark)
        assert found, "the kernel's log is too short"
        assert not re.search(r"callbacks suppressed|audit_lost=[1-9]|backlog limit", since)
        return [line for line in since.splitlines() if "DENIED" in line]

    def processes(self, unit: str) -> list[int]:
        """Return the main process of a unit, if it has one."""
        pid = int(self.property(unit, "MainPID"))
        return [pid] if pid else []

    def reboot(self) -> None:
        """Start the machine anew; its disk stays as it is."""
        before = self.boot_id()
        self.ran("systemctl reboot")
        self._wait(lambda: self.boot_id() not in {"", before})

    def boot_id(self) -> str:
        """Return what is another one after each boot; "" while the machine does not answer."""
        done = self._tried("cat /proc/sys/kernel/random/boot_id")
        return done.stdout.strip() if done.returncode == 0 else ""

    def wait_for_boot(self) -> None:
        """Wait until ssh answers and every unit was started."""
        begun = time.monotonic()
        self._wait(self.boot_id)
        self.boot = time.monotonic() - begun
        self.ran("systemctl is-system-running --wait", timeout=_BOOT)

    def _wait(self, done: Callable[[], object]) -> None:
        end = time.monotonic() + _BOOT
        while not done():
            if self.emulator.process.poll() is not None or time.monotonic() > end:
                pytest.fail(f"the machine does not answer: {self._last_words()}")
            time.sleep(_PAUSE)  # as above

    def _last_words(self) -> str:
        text = self.emulator.console.read_bytes()[-3000:].decode(errors="replace")
        text = re.sub(r"\x1b\[[0-9;]*[a-zA-Z]", "", text)
        return f"{text}; QEMU: {self.emulator.said()}"

    def _ssh(self, user: str, *more: str) -> list[str]:
        known = self.folder / "known"
        if not known.exists():
            key = " ".join(self.keys.host.with_suffix(".pub").read_text().split()[:2])
            known.write_text(f"machine {key}\n")
        options = {
            "HostKeyAlias": "machine",
            "UserKnownHostsFile": known,
            "GlobalKnownHostsFile": "/dev/null",
            "IdentitiesOnly": "yes",
            "BatchMode": "yes",
            "ConnectTimeout": 10,
            "ServerAliveInterval": 10,
            "LogLevel": "ERROR",
            # One connection for all commands of a user: in emulation each handshake takes a second.
            "ControlMaster": "auto",
            "ControlPath": self.folder / f"ssh-{user}",
            "ControlPersist": 30,
        }
        return [
            "ssh", "-F", "none", "-i", str(self.keys.client),
            *(word for key, value in options.items() for word in ("-o", f"{key}={value}")),
            *more, "-p", str(self.emulator.ports["tcp 22"]), f"{user}@127.0.0.1",
        ]  # fmt: skip


@contextmanager
def guest_on(machine: Machine, kernel: Kernel, disk: Path, keys: Keys) -> Iterator[Guest]:
    """Boot a machine, and end it at the end of the block."""
    # The path of a socket has few bytes, and ssh ends the value of an option at a space.
    with (
        tempfile.TemporaryDirectory(
            prefix="machine-", dir="/tmp", ignore_cleanup_errors=True
        ) as name,
        booted(machine.architecture, kernel, disk, folder := Path(name)) as emulator,
    ):
        guest = Guest(machine, kernel, emulator, folder, keys)
        guest.wait_for_boot()
        yield guest
