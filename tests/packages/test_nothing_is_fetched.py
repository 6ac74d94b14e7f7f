"""What is installed fetches nothing from the network, and nothing was compiled on the machine.

The machine has a way out, to nobody, and no compiler. What leaves it is seen by the kernel.
"""

import hashlib
import subprocess
import zipfile
from collections.abc import Iterable
from pathlib import Path

from harness import packets
from machines.wheels import wheels
from packages.conftest import Boot
from packages.debs import furniture
from packages.environments import PACKAGES, put_environment
from packages.roots import SUITES
from packages.system import PATIENCE, System

ELF = b"\x7fELF"
BUILDERS = ("cc", "gcc", "c99", "clang", "as", "ld", "make", "cargo", "rustc", "git", "curl")
# A day of the programs: what a person does with them after the installation.
SINGLE = (
    "mailbell check", "mailbell sender check", "mailbell send 127.0.0.1", "mailbell status",
    "mailbell clients", "mailbell policy", "mailbell sender status",
    "mailbell sender recipe postfix", "mailbell install --thunderbird",
    "mailbell uninstall --thunderbird",
)  # fmt: skip
AGENT = ("run", "--no-network-up", "--settle=0s", "--", "true")


def inside(system: System, *command: str) -> str:
    """Run a program of this host in the network of a system."""
    enter = ("nsenter", "-t", str(system.pid), "-n")
    return subprocess.run(
        [*enter, *command], check=True, capture_output=True, text=True, timeout=30
    ).stdout


def give_a_way_out(system: System) -> None:
    """Give a system an interface with routes to everywhere. Nobody is there."""
    for command in (
        "ip link add out type veth peer name far", "ip link set out addrgenmode none",
        "ip link set far addrgenmode none", "ip link set out up", "ip link set far up",
        "ip address add 192.0.2.1/24 dev out", "ip address add 2001:db8::1/64 dev out nodad",
        "ip route add default dev out", "ip -6 route add default dev out",
    ):  # fmt: skip
        inside(system, *command.split())


def native(paths: Iterable[Path]) -> list[Path]:
    """Return those files that the processor could execute."""
    found = []
    for path in paths:
        if path.is_file() and not path.is_symlink():
            with path.open("rb") as file:
                if file.read(4) == ELF:
                    found.append(path)
    return found


def brought_by(wheels: Path) -> set[bytes]:
    """Return the hash of each file in each wheel of a folder."""
    found = set()
    for wheel in wheels.glob("*.whl"):
        with zipfile.ZipFile(wheel) as archive:
            found |= {hashlib.sha256(archive.read(name)).digest() for name in archive.namelist()}
    return found


def watch(system: System) -> System:
    """Give a system a way out, and watch what leaves it; it can compile nothing."""
    assert system.ran(f"command -v {' '.join(BUILDERS)}").said == ""
    give_a_way_out(system)
    packets.watch(lambda *command: inside(system, *command))
    return system


def left(system: System) -> set[tuple[str, str, int]]:
    return packets.left(lambda *command: inside(system, *command))


def work(system: System) -> None:
    """Use every program once."""
    for command in SINGLE:
        done = system.ran(command)
        assert "Traceback" not in done.said, done
        assert done.code not in {64, 127}, done
    agent = system.popen("mailbell", *AGENT)
    try:
        system.until("mailbell status --json | grep -q '\"subscribers\": *[1-9]'", "the agent")
        system.run("mailbell notify")
    finally:
        agent.kill()  # this ends what waits for it here; the agent itself ends with the system
        agent.wait(PATIENCE)


def test_an_environment_of_pip_fetches_and_compiles_nothing(boot: Boot) -> None:
    system = watch(boot("trixie", *PACKAGES))
    put_environment(system)
    system.run("/opt/mailbell/bin/mailbell install --listener --sender")
    work(system)
    files = native(system.path("/opt/mailbell").rglob("*"))
    assert files
    known = brought_by(wheels("amd64", SUITES["trixie"]))
    built = [path for path in files if hashlib.sha256(path.read_bytes()).digest() not in known]
    assert built == []
    system.run("mailbell uninstall")
    assert left(system) == set()


def test_debians_packages_fetch_and_compile_nothing(boot: Boot, debs: list[Path]) -> None:
    system = watch(boot("trixie", *furniture(debs)))
    for each in debs:
        system.put(each, "/root/packages")
    system.run("dpkg --install /root/packages/*.deb")
    work(system)
    names = " ".join(each.name.split("_")[0] for each in debs)
    files = [system.path(name) for name in system.run(f"dpkg -L {names}").splitlines()]
    assert files
    assert native(files) == []
    system.run(f"dpkg --purge {names}")
    assert left(system) == set()


def test_what_leaves_such_a_system_would_be_seen(boot: Boot) -> None:
    system = watch(boot("trixie", *PACKAGES))
    assert system.ran("python3 -m venv x && x/bin/pip download --timeout 1 --retries 0 trio").code
    seen = left(system)
    assert seen
    assert {kind for _, kind, _ in seen} <= {"tcp", "udp"}
