"""A kernel of Debian, unpacked, with a small initial file system that starts the machine's disk.

The kernel is not installed in the machine. So one disk boots with many kernels, and no program
of the machine has to be emulated to make the initial file system.
"""

import hashlib
import lzma
import re
import shutil
import stat
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from machines.books import Books
from machines.cache import kept
from machines.description import Machine
from machines.processes import run

__all__ = ["Kernel", "make_kernel", "newest"]

# Debian's kernel for virtual machines: the same configuration of what is tested here, and fewer
# drivers. Debian 11 has it too.
_FLAVOUR: Final = "cloud"
# Where there is no disk or no network without them; a kernel may have them built in.
_NEEDED: Final = ("virtio_pci", "virtio_blk", "virtio_net", "ext4")
# Randomness at boot, the power button that wakes the machine, an interface for addresses that
# come and go, and what ss(8) and systemd ask for. crc32c is what ext4 uses without naming it.
_FURTHER: Final = (
    "crc32c_generic", "virtio_rng", "button", "evdev", "dummy",
    "unix_diag", "tcp_diag", "udp_diag", "autofs4",
)  # fmt: skip

_INIT: Final = """\
#!/bin/busybox sh
export PATH=/bin
/bin/busybox mkdir -p /dev /proc /sys /root
/bin/busybox mount -t devtmpfs dev /dev
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t sysfs sys /sys
for module in /modules/*; do /bin/busybox insmod "$module"; done
if ! /bin/busybox grep -q root= /proc/cmdline; then
  echo "the kernel runs"
  /bin/busybox poweroff -f
fi
while ! [ -b /dev/vda ]; do /bin/busybox sleep 0.1; done
/bin/busybox mount -t ext4 /dev/vda /root
for name in dev proc sys; do /bin/busybox mount -o move /$name /root/$name; done
exec /bin/busybox switch_root /root /sbin/init
"""


@dataclass(frozen=True)
class Kernel:
    """A kernel that can be booted.

    Attributes:
        version: as uname(1) prints it.
        image: the file for QEMU.
        initrd: the initial file system.
    """

    version: str
    image: Path
    initrd: Path


def make_kernel(
    machine: Machine, books: Callable[[], Books], busybox: Path, folder: Path
) -> Kernel:
    """Download a machine's kernel and unpack it, if that is not done yet.

    Args:
        machine: the machine.
        books: returns the packages of the suite that has the kernel.
        busybox: the statically linked busybox of the machine's architecture.
        folder: where to keep kernels.
    """
    made_of = (
        machine.kernel, machine.kernel_from, machine.architecture, _INIT, _NEEDED, _FURTHER,
        hashlib.sha256(busybox.read_bytes()).hexdigest(),
    )  # fmt: skip
    place = kept(folder, machine.name, made_of, lambda new: _fill(new, machine, books(), busybox))
    return Kernel((place / "version").read_text(), place / "kernel", place / "initrd")


def _fill(place: Path, machine: Machine, books: Books, busybox: Path) -> None:
    package = newest(books.names(f"linux-image-{machine.kernel}"), machine.architecture)
    version = package.removeprefix("linux-image-")
    unpacked = place / "package"
    # From Linux 7 on Debian has the kernel and its modules in packages of their own.
    for kind in ("image", "binary", "modules", "base"):
        for part in books.names(f"linux-{kind}-{version}"):
            if part == f"linux-{kind}-{version}":
                run("dpkg-deb", "-x", books.download(part, place), unpacked)
    image = next(path for path in unpacked.rglob("vmlinuz*") if path.is_file())
    (place / "kernel").write_bytes(_bootable(image.read_bytes()))
    found = _modules(unpacked, (*_NEEDED, *_FURTHER))
    built_in = next(unpacked.glob(f"**/modules/{version}/modules.builtin")).read_text()
    for name in _NEEDED:
        if name not in found and not re.search(rf"/{name}\.ko", built_in):
            raise LookupError(f"{package} has no module {name}")
    entries = [("init", _INIT.encode()), ("bin/busybox", busybox.read_bytes())]
    entries += [(f"modules/{i:03}", data) for i, data in enumerate(found.values())]
    (place / "initrd").write_bytes(_archive(entries))
    (place / "version").write_text(version)
    shutil.rmtree(unpacked)
    for file in place.glob("*.deb"):
        file.unlink()


def newest(names: Iterable[str], architecture: str) -> str:
    """Return the newest of Debian's signed kernels for virtual machines."""
    pattern = rf"linux-image-[0-9.]+[^a-z]*[a-z0-9+]*-{_FLAVOUR}-{architecture}"
    found = [name for name in names if re.fullmatch(pattern, name)]
    if not found:
        raise LookupError(f"there is no such kernel for {architecture}")
    return max(found, key=lambda name: [int(number) for number in re.findall(r"\d+", name)])


def _modules(unpacked: Path, names: Iterable[str]) -> dict[str, bytes]:
    """Return modules and what they depend on, in the order in which they can be loaded."""
    files = {path.name.split(".ko")[0].replace("-", "_"): path for path in _all(unpacked)}
    found: dict[str, bytes] = {}

    def add(name: str) -> None:
        if name in found or name not in files:
            return
        data = _read(files[name])
        depends = re.search(rb"\0depends=([^\0]*)\0", data)
        for other in depends[1].decode().split(",") if depends else ():
            add(other.replace("-", "_"))
        found[name] = data

    for name in names:
        add(name)
    return found


def _all(unpacked: Path) -> Iterator[Path]:
    return (path for path in unpacked.rglob("*.ko*") if path.is_file())


def _read(path: Path) -> bytes:
    data = path.read_bytes()
    return lzma.decompress(data) if path.suffix == ".xz" else data


def _bootable(image: bytes) -> bytes:
    """Return what QEMU boots fastest: the kernel that is packed within the file.

    In software emulation the kernel takes long to unpack itself.
    """
    if image[:2] != b"MZ" or image[0x38:0x3C] == b"ARM\x64":
        return image
    for magic, command in ((b"\x28\xb5\x2f\xfd", "zstd"), (b"\xfd7zXZ\0", "xz")):
        start = -1
        while (start := image.find(magic, start + 1)) >= 0:
            unpacked = run(command, "-dc", data=image[start:], check=False)
            if unpacked[:4] == b"\x7fELF":
                return unpacked
    return image


def _archive(entries: Iterable[tuple[str, bytes]]) -> bytes:
    """Return an initial file system, packed with gzip, which every kernel unpacks quickly."""
    packer = zlib.compressobj(1, zlib.DEFLATED, 31)
    return packer.compress(_cpio(entries)) + packer.flush()


def _cpio(entries: Iterable[tuple[str, bytes]]) -> bytes:
    """Write a cpio archive as the kernel reads it.

    Args:
        entries: the path and the content of each file; all files can be executed.

    Returns:
        The archive in the format "newc" (Documentation/driver-api/early-userspace).
    """
    folders = ("dev", "bin", "modules", "root")
    parts = [_entry(name, b"", stat.S_IFDIR | 0o755, i) for i, name in enumerate(folders, 1)]
    files = enumerate(entries, len(folders) + 1)
    parts += [_entry(name, data, stat.S_IFREG | 0o755, i) for i, (name, data) in files]
    return b"".join([*parts, _entry("TRAILER!!!", b"", 0, 0)])


def _entry(name: str, data: bytes, mode: int, number: int) -> bytes:
    path = name.encode() + b"\0"
    fields = (number, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(path), 0)
    header = b"070701" + b"".join(b"%08X" % field for field in fields)
    return _padded(header + path) + _padded(data)


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)
