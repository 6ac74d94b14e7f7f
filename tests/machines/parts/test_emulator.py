"""QEMU, ssh and the emulator of another architecture when something goes wrong."""

import io
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pytest
from machines import emulator, guest
from machines.description import MACHINES
from machines.guest import Guest, guest_on
from machines.kernel import Kernel
from machines.userland import Keys

TESTS: Final = Path(__file__).parents[2]


@pytest.mark.skipif(not shutil.which("qemu-system-x86_64"), reason="qemu-system-x86 is missing")
def test_qemu_that_does_not_start_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A comma of a path is no end of it."""
    monkeypatch.setattr(emulator, "_why_not_kvm", lambda *_: "as it is")
    none = Kernel("6.12.1", tmp_path / "kernel", tmp_path / "initrd")
    disk = tmp_path / "no,disk"
    with (
        short_folder() as folder,
        pytest.raises(RuntimeError, match=f"QEMU: .*Could not open '{disk}'"),
        emulator.booted("amd64", none, disk, folder),
    ):
        raise AssertionError("it runs")


@pytest.mark.skipif(not shutil.which("qemu-system-x86_64"), reason="qemu-system-x86 is missing")
def test_a_host_says_why_it_emulates() -> None:
    """There is no such kernel, so KVM carries it nowhere."""
    with short_folder() as folder:
        why = emulator._why_not_kvm(Kernel("6.12.1", Path("/no/kernel"), Path("/no")), folder)
    assert "/dev/kvm" in why or ("did not run: " in why and "(nothing)" not in why)


def test_a_monitor_that_ends_is_an_error_of_the_connection() -> None:
    with pytest.raises(ConnectionError, match="QEMU has closed"):
        emulator._ask(io.StringIO(), {"execute": "stop"})


def test_sockets_have_a_short_path_without_a_space(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    folders: list[Path] = []

    def refused(*arguments: Any) -> Any:
        folders.append(arguments[-1])
        raise RuntimeError("enough")

    monkeypatch.setattr(guest, "booted", refused)
    none = Kernel("", tmp_path, tmp_path)
    with (
        pytest.raises(RuntimeError, match="enough"),
        guest_on(MACHINES["trixie"], none, tmp_path, Keys(tmp_path, tmp_path)),
    ):
        raise AssertionError("it runs")
    (folder,) = folders
    assert len(str(folder / "monitor")) < 40
    assert not folder.is_relative_to(tmp_path)
    assert not folder.exists()


class Here(Guest):
    """This host in place of a machine."""

    def __init__(self) -> None:
        """Without QEMU."""

    def _ssh(self, *_: str) -> list[str]:
        return ["setpriv", "--pdeathsig", "KILL", "--", "sh", "-c"]


def test_a_command_that_blocks_costs_no_more_than_its_time() -> None:
    with pytest.raises(pytest.fail.Exception, match="not within 0 s: the last words"):
        Here().until("echo the last words; exec sleep 1000", seconds=0.1)
    with pytest.raises(pytest.fail.Exception, match="not ended within 2 s: the last words"):
        Here().ran("echo the last words; exec sleep 1000", timeout=1.6)
    assert Here().until("echo yes") == "yes\n"
    assert Here().ran("exit 124").returncode == 124


# A program for aarch64 that ends with 7: elf(5), and three instructions.
_AARCH64: Final = (
    b"\x7fELF\2\1\1" + bytes(9) + b"\2\0\xb7\0\1\0\0\0"
    + (0x400078).to_bytes(8, "little") + (64).to_bytes(8, "little") + bytes(8 + 4)
    + b"\x40\0\x38\0\1\0\0\0\0\0\0\0"
    + b"\1\0\0\0\5\0\0\0" + bytes(8) + (0x400000).to_bytes(8, "little") * 2
    + (132).to_bytes(8, "little") * 2 + (0x1000).to_bytes(8, "little")
    + bytes.fromhex("e00080d2 a80b80d2 010000d4")  # mov x0, 7; mov x8, 93 (exit); svc 0
)  # fmt: skip


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes machines")
@pytest.mark.skipif(not shutil.which("qemu-aarch64"), reason="qemu-user is missing")
def test_the_emulator_may_lie_where_its_path_has_a_colon(tmp_path: Path) -> None:
    place = tmp_path / "a:b"
    place.mkdir()
    (place / "qemu").symlink_to("/usr/bin/qemu-aarch64")
    (tmp_path / "program").write_bytes(_AARCH64)
    (tmp_path / "program").chmod(0o755)
    done = subprocess.run(
        [sys.executable, TESTS / "machines/foreign.py", place / "qemu", tmp_path / "program"],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    if "since Linux 6.7" in done.stderr:
        pytest.skip("binfmt_misc of a namespace came with Linux 6.7")
    assert done.returncode == 7, done.stderr


def test_a_child_whose_parent_has_ended_does_not_go_on() -> None:
    program = f"""
import os, sys
sys.path.insert(0, {str(TESTS)!r})
from machines import foreign
ended, held = os.pipe()
def late(*_):
    os.close(held)
    os.read(ended, 1)
foreign._call = late
if foreign._fork() == 0:
    print("it goes on", flush=True)
os._exit(0)
"""
    said = subprocess.run(
        [sys.executable, "-c", program], stdin=subprocess.DEVNULL, capture_output=True, check=True
    )
    assert said.stdout == b""


@contextmanager
def short_folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="machine-", dir="/tmp") as name:
        yield Path(name)
