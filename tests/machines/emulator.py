"""QEMU: boots a machine, with the processor's own help where that carries a kernel."""

import json
import os
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from machines.kernel import Kernel
from machines.processes import ENDING

__all__ = ["Emulator", "booted"]

# Seconds for a kernel to say a word. In software emulation it takes ten.
_PROBE: Final = 20.0
_MEMORY: Final = "1536"  # MiB

_COMMANDS: Final = {"amd64": "qemu-system-x86_64", "arm64": "qemu-system-aarch64"}
# "max" has pointer authentication on arm64, which is slow in emulation.
_KINDS: Final = {
    "amd64": ("-machine", "q35", "-cpu", "max"),
    "arm64": ("-machine", "virt", "-cpu", "cortex-a57"),
}
_CONSOLES: Final = {"amd64": "ttyS0", "arm64": "ttyAMA0"}
# Sleep is s2idle. Mitigations cost much in emulation, and nobody else is on this processor.
_APPEND: Final = "panic=5 mitigations=off mem_sleep_default=s2idle quiet"


@dataclass(frozen=True)
class Emulator:
    """A machine that runs.

    Attributes:
        process: QEMU.
        monitor: the socket of its monitor (QMP).
        console: the file that gets what the kernel prints.
        why_emulated: why the processor does not run the machine's instructions itself; "" if it
            does.
        ports: for each port of the machine, the port of 127.0.0.1 that leads to it.
    """

    process: "subprocess.Popen[bytes]"
    monitor: Path
    console: Path
    why_emulated: str
    ports: Mapping[str, int] = field(default_factory=dict)

    def command(self, execute: str, **arguments: Any) -> Any:
        """Give a command to the monitor; return its answer."""
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(10)
            sock.connect(str(self.monitor))
            with sock.makefile("rw") as stream:
                stream.readline()
                _ask(stream, {"execute": "qmp_capabilities"})
                return _ask(stream, {"execute": execute, "arguments": arguments})

    def said(self) -> str:
        """Return QEMU's own last words."""
        return _said(self.console.parent)


def _ask(stream: Any, request: dict[str, Any]) -> Any:
    stream.write(json.dumps(request) + "\n")
    stream.flush()
    while True:
        line = stream.readline()
        if not line:
            raise ConnectionError("QEMU has closed its monitor")
        answer = json.loads(line)
        if "error" in answer:
            raise RuntimeError(answer["error"]["desc"])
        if "return" in answer:
            return answer["return"]


@contextmanager
def booted(architecture: str, kernel: Kernel, disk: Path, folder: Path) -> Iterator[Emulator]:
    """Run a machine until the end of the block. What it writes to its disk is lost then.

    Its network leads nowhere but to this host, where ports of 127.0.0.1 lead to it.

    Args:
        architecture: as Debian names it.
        kernel: what it boots.
        disk: its disk, which stays as it is.
        folder: for the console's text and the monitor's socket, whose path has a hundred bytes at
            most.

    Raises:
        RuntimeError: QEMU does not start; with its own words.
    """
    why_emulated = (
        _why_not_kvm(kernel, folder) if architecture == "amd64" else "another architecture"
    )
    forwards = "".join(
        f",hostfwd={kind}:127.0.0.1:0-:{port}"
        for kind, port in (("tcp", 22), ("tcp", 79), ("udp", 79))
    )
    command = [
        *_command(architecture, kernel, folder, accelerated=not why_emulated),
        "-append", f"root=/dev/vda rw console={_CONSOLES[architecture]} {_APPEND}",
        "-smp", str(min(2, os.cpu_count() or 1)), "-m", _MEMORY,
        "-drive", f"file={str(disk).replace(',', ',,')},if=none,id=d0,format=raw,snapshot=on",
        "-device", "virtio-blk-pci,drive=d0", "-device", "virtio-rng-pci",
        "-netdev", f"user,id=n0,restrict=on{forwards}", "-device", "virtio-net-pci,netdev=n0",
    ]  # fmt: skip
    with _started(command, folder) as process:
        emulator = Emulator(process, folder / "monitor", folder / "console", why_emulated)
        try:
            ports = _ports(emulator)
        except OSError as error:
            raise RuntimeError(f"{error}; QEMU: {emulator.said()}") from error
        yield replace(emulator, ports=ports)


@contextmanager
def _started(command: list[str], folder: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """Run QEMU until the end of the block; what it says itself goes into a file."""
    with open(folder / "said", "wb") as said:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=said, stderr=said, cwd=folder
        )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def _said(folder: Path) -> str:
    text = (folder / "said").read_text(errors="replace").strip()
    return text[-1000:] or "(nothing)"


def _command(architecture: str, kernel: Kernel, folder: Path, *, accelerated: bool) -> list[str]:
    kind = _KINDS[architecture]
    if accelerated:
        kind = ("-machine", "q35", "-cpu", "host")
    accelerator = "kvm" if accelerated else "tcg,thread=multi,tb-size=512"
    return [
        *ENDING, _COMMANDS[architecture], *kind, "-accel", accelerator,
        "-kernel", str(kernel.image), "-initrd", str(kernel.initrd),
        "-nodefaults", "-display", "none", "-serial", f"file:{folder / 'console'}",
        "-qmp", f"unix:{folder / 'monitor'},server=on,wait=off",
    ]  # fmt: skip


def _why_not_kvm(kernel: Kernel, folder: Path) -> str:
    """Return why a kernel does not run with KVM here; "" if it really does.

    Some hosts offer /dev/kvm, which creates a machine and then cannot run Debian's kernel.
    """
    try:
        os.close(os.open("/dev/kvm", os.O_RDWR | os.O_CLOEXEC))
    except OSError as error:
        return str(error)
    command = [
        *_command("amd64", kernel, folder, accelerated=True),
        "-append", "console=ttyS0 panic=-1", "-m", "512", "-no-reboot",
    ]  # fmt: skip
    with _started(command, folder) as process, suppress(subprocess.TimeoutExpired):
        process.wait(_PROBE)
    console = folder / "console"
    if console.exists() and b"the kernel runs" in console.read_bytes():
        return ""
    said = _said(folder).partition("\n")[0]
    return f"with KVM the kernel did not run: {said or f'nothing within {_PROBE:.0f} s'}"


def _ports(emulator: Emulator) -> dict[str, int]:
    """Ask QEMU which ports of this host it has taken."""
    deadline = time.monotonic() + 30
    while True:
        try:
            text = emulator.command("human-monitor-command", **{"command-line": "info usernet"})
            break
        except OSError:
            if time.monotonic() > deadline or emulator.process.poll() is not None:
                raise
            time.sleep(0.05)  # QEMU makes the socket when it has started
    found = {}
    for line in text.splitlines():
        words = line.split()
        if words and words[0].endswith("[HOST_FORWARD]"):
            kind = words[0].partition("[")[0].lower()
            found[f"{kind} {words[5]}"] = int(words[3])
    return found
