"""QEMU: boots a machine, with the processor's own help where that carries a kernel."""

import json
import os
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Final

from machines.kernel import Kernel

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
        ports: for each port of the machine, the port of 127.0.0.1 that leads to it.
        accelerated: whether the processor runs the machine's instructions itself.
    """

    process: "subprocess.Popen[bytes]"
    monitor: Path
    console: Path
    accelerated: bool
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


def _ask(stream: Any, request: dict[str, Any]) -> Any:
    stream.write(json.dumps(request) + "\n")
    stream.flush()
    while True:
        answer = json.loads(stream.readline())
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
        folder: for the console's text and the monitor's socket.
    """
    accelerated = architecture == "amd64" and _kvm_carries(kernel)
    forwards = "".join(
        f",hostfwd={kind}:127.0.0.1:0-:{port}"
        for kind, port in (("tcp", 22), ("tcp", 79), ("udp", 79))
    )
    command = [
        *_command(architecture, kernel, folder, accelerated=accelerated),
        "-append", f"root=/dev/vda rw console={_CONSOLES[architecture]} {_APPEND}",
        "-smp", str(min(2, os.cpu_count() or 1)), "-m", _MEMORY,
        "-drive", f"file={disk},if=none,id=d0,format=raw,snapshot=on",
        "-device", "virtio-blk-pci,drive=d0", "-device", "virtio-rng-pci",
        "-netdev", f"user,id=n0,restrict=on{forwards}", "-device", "virtio-net-pci,netdev=n0",
    ]  # fmt: skip
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, cwd=folder)
    try:
        emulator = Emulator(process, folder / "monitor", folder / "console", accelerated)
        yield Emulator(**{**vars(emulator), "ports": _ports(emulator)})
    finally:
        process.kill()
        process.wait()


def _command(architecture: str, kernel: Kernel, folder: Path, *, accelerated: bool) -> list[str]:
    kind = _KINDS[architecture]
    if accelerated:
        kind = ("-machine", "q35", "-cpu", "host")
    accelerator = "kvm" if accelerated else "tcg,thread=multi,tb-size=512"
    return [
        # The machine ends with the test, also if that is killed.
        "setpriv", "--pdeathsig", "KILL", "--",
        _COMMANDS[architecture], *kind, "-accel", accelerator,
        "-kernel", str(kernel.image), "-initrd", str(kernel.initrd),
        "-nodefaults", "-display", "none", "-serial", f"file:{folder / 'console'}",
        "-qmp", f"unix:{folder / 'monitor'},server=on,wait=off",
    ]  # fmt: skip


@cache
def _kvm_carries(kernel: Kernel) -> bool:
    """Return whether a kernel really runs with KVM here.

    Some hosts offer /dev/kvm, which creates a machine and then cannot run Debian's kernel.
    """
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return False
    folder = kernel.image.parent
    console = folder / "console"
    console.unlink(missing_ok=True)
    command = [
        *_command("amd64", kernel, folder, accelerated=True),
        "-append", "console=ttyS0 panic=-1", "-m", "512", "-no-reboot",
    ]  # fmt: skip
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        process.wait(_PROBE)
    except subprocess.TimeoutExpired:
        return False
    finally:
        process.kill()
        process.wait()
    return console.exists() and b"the kernel runs" in console.read_bytes()


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
