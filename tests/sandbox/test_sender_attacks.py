"""Attacks on mailbell-sender: by its layers alone, in a process it has locked, in the running one.

The sender may connect. So the attacks that matter most are those by which an intruder would
reach another host or service: another port, UDP, a socket that is there already.
"""

import errno
import os
import signal
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import pytest
from harness.alone import ask
from harness.daemon import PATIENCE
from harness.inject import Gone, intruding
from harness.ringer import Ringer, ringing, settings
from harness.tracee import traced
from sandbox.attacks.aim import number
from sandbox.attacks.attempts import Site, attempt, site
from sandbox.attacks.catalogue import ATTACKS, Attack, Result, Targets, aimed, laid_out
from sandbox.attacks.layers import ALL, KILLED, LOGGING, RUNS, SENDER, Layer, Run, policy_of
from sandbox.attacks.matrix import EXPECTED, Stop
from sandbox.attacks.outcomes import possible
from sandbox.inside import registers
from sandbox.program.decisions import Decisions
from sandbox.program.reading import Numbers
from sandbox.program.running import filters_of
from sandbox.program.subject import NATIVE, decoded, native_with, returned
from sandbox.sender_process import locked_sender

from mailbell._sys import landlock
from mailbell.sandbox.policy_file import FOLDER
from mailbell.syscalls.policy import ALLOW, KILL, Action, Policy

TCP, UDP = 6, 17
TYPE: Final = int(socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
HERE: Final = -100  # AT_FDCWD, linux/fcntl.h
DATAGRAM: Final = int(socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
SOMEWHERE: Final = 1 << 40
POLICY: Final = policy_of(SENDER)
FILTER: Final = next(run for run in RUNS if run.layers == {Layer.FILTER})
LANDLOCK: Final = next(run for run in RUNS if run.layers == {Layer.LANDLOCK})
# The filter permits it, and a limit of resources stops it.
PERMITTED: Final = {"exhaust memory"}


@pytest.fixture(scope="module")
def place() -> Iterator[Site]:
    with site(SENDER) as made:
        # Numbers of the descriptors that each attempt has: every one below 64 is an early one.
        yield replace(made, targets=replace(made.targets, listener=3, datagrams=4))


def answer(policy: Policy, attack: Attack, targets: Targets) -> Action:
    """The policy's answer to the first call that it does not permit."""
    ready = aimed(attack, targets)
    for call, made in zip(ready.calls, laid_out(ready, SOMEWHERE).calls, strict=True):
        args = [SOMEWHERE if isinstance(arg, Result) else arg for arg in made.args]
        if (action := policy.answer(call.name, registers(args))) != ALLOW:
            return action
    return ALLOW


def stops(attack: Attack, targets: Targets) -> tuple[Stop, ...]:
    """Which layers of the sender stop an attack: the filter as its policy says, and the others."""
    action = answer(POLICY, attack, targets)
    others = tuple(stop for stop in EXPECTED[attack.name] if stop.layer is not Layer.FILTER)
    if action == ALLOW:
        return others
    return (Stop(Layer.FILTER, KILLED if action == KILL else action.name), *others)


@pytest.mark.long
@pytest.mark.parametrize("run", [FILTER, LANDLOCK, LOGGING, ALL], ids=lambda run: run.name)
def test_each_layer_stops_what_it_should(run: Run, place: Site) -> None:
    wrong = {}
    for attack in ATTACKS:
        targets = place.targets
        expected = stops(attack, targets)
        outcome = attempt(attack, run, place, SENDER)
        # Whether it works without any layer is shown for mailbelld: test_each_layer.py.
        first = next((stop for stop in expected if stop.layer in run.layers), None)
        works = first is not None and first.layer is Layer.FILTER
        if outcome not in possible(expected, run, works):
            wrong[attack.name] = outcome
    assert wrong == {}


def test_the_filter_stops_every_attack_but_one(place: Site) -> None:
    permitted = {a.name for a in ATTACKS if answer(POLICY, a, place.targets) == ALLOW}
    assert permitted == PERMITTED


# --- in a process that the sender's own code has locked -----------------------------------


def call(port: int, host: str = "127.0.0.1", kind: int = TYPE, protocol: int = TCP) -> int:
    """Call a port as the sender calls a target; return the number of the error."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, kind, protocol) as sock:
        return sock.connect_ex((host, port))


def reached(
    *targets: str, transport: str = "tcp", kind: int = TYPE, protocol: int = TCP
) -> dict[str, int]:
    """Call ports of loopback in a locked sender that has these targets: errors by port."""
    toml = (
        f'[[account]]\nname = "anna"\ntargets = {list(targets)}\ntransport = "{transport}"\n'
        '[[account]]\nname = "bert"\ntargets = ["192.0.2.3:2525"]\n'
    )

    def inside(_: Mapping[str, Any]) -> dict[str, int]:
        ports = (79, 80, 22, 25, 7979, 2525)
        answers = {str(port): call(port, "127.0.0.1", kind, protocol) for port in ports}
        return {**answers, "22 of IPv6": call(22, "::1", kind, protocol)}

    ended = locked_sender(inside, more=toml)
    assert (ended.error, ended.signal) == (None, None), ended
    found: dict[str, int] = ended.value
    return found


@pytest.mark.skipif(landlock.abi() < 4, reason="TCP came with version 4")
def test_only_the_ports_of_the_configuration_can_be_reached() -> None:
    found = reached("192.0.2.1", "192.0.2.2:7979")
    refused = {name for name, error in found.items() if error == errno.EACCES}
    assert refused == {"80", "22", "25", "22 of IPv6"}
    # Nothing listens there: the kernel began a connection.
    assert {found["79"], found["7979"]} <= {errno.EINPROGRESS, errno.ECONNREFUSED}


@pytest.mark.skipif(landlock.abi() < 10, reason=f"this kernel offers version {landlock.abi()}")
def test_only_the_udp_ports_of_the_configuration_can_be_reached() -> None:
    """A port that is called by TCP is none of them, though nobody need listen to a datagram."""
    found = reached("192.0.2.1", "192.0.2.2:7979", transport="udp", kind=DATAGRAM, protocol=UDP)
    assert {name for name, error in found.items() if error == 0} == {"79", "7979"}
    assert {error for error in found.values() if error} == {errno.EACCES}


def attempts(early: int, store: int) -> dict[str, Callable[[], object]]:
    """What an intruder might try, each of which must end the process."""
    return {
        "a datagram socket": lambda: call(53, kind=DATAGRAM, protocol=17),
        "a socket of another kind": lambda: socket.socket(socket.AF_INET, socket.SOCK_STREAM),
        "multipath TCP": lambda: socket.socket(socket.AF_INET, TYPE, 262),
        "a Unix socket": lambda: socket.socket(socket.AF_UNIX, TYPE),
        "a raw socket": lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, 1),
        "netlink": lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0),
        "point an early socket elsewhere": lambda: _raw("connect", early, 0, 16),
        "listen": lambda: _raw("listen", early, 16),
        "bind": lambda: _raw("bind", early, 0, 16),
        "send to an address": lambda: _raw("sendto", early, 0, 0, 0, SOMEWHERE, 16),
        "send a descriptor": lambda: _raw("sendmsg", early, 0, 0),
        "execute": lambda: os.execv("/bin/true", ["true"]),
        "fork": os.fork,
        "signal another process": lambda: os.kill(1, signal.SIGTERM),
        "make a directory": lambda: os.mkdir("/tmp/mailbell-attack"),
        "remove a file": lambda: os.unlink("/tmp/mailbell-attack"),
        "map a file": lambda: _raw("mmap", 0, 4096, 1, 2, early, 0),
        "executable memory": lambda: _raw("mmap", 0, 4096, 7, 0x22, -1, 0),
        "write elsewhere": lambda: os.write(1, b"x"),
        "write into an early socket": lambda: _raw("pwrite64", early, 0, 0, 0),
        "write much at once": lambda: _raw("pwrite64", store, 0, 1 << 17, 0),
        "write far behind": lambda: _raw("pwrite64", store, 0, 1, 1 << 34),
        "write before the beginning": lambda: _raw("pwrite64", store, 0, 1, -1),
        "make a file long": lambda: _raw("ftruncate", store, 1 << 31),
        "shorten another file": lambda: _raw("ftruncate", early, 0),
        "lock a file": lambda: _raw("fcntl", early, 7, 0),
    }


def _raw(name: str, *args: int) -> int:
    return ask((number(name), tuple(registers(args))))


@pytest.mark.parametrize("name", attempts(3, 3))
def test_what_an_intruder_tries_ends_the_process(name: str) -> None:
    def inside(numbers: Mapping[str, Any]) -> object:
        early = max(numbers["EARLY"])
        return attempts(early, max(numbers["STORE"]))[name]()

    ended = locked_sender(inside, more='[[account]]\nname = "anna"\ntargets = ["192.0.2.1"]')
    assert ended.signal is signal.SIGSYS, ended


def test_what_cpython_may_try_by_itself_fails_softly() -> None:
    def inside(_: Mapping[str, Any]) -> dict[str, str]:
        tried: dict[str, Callable[[], object]] = {
            "open": lambda: os.open("/etc/passwd", os.O_RDONLY),
            "open for writing": lambda: os.open("/tmp/mailbell-attack", os.O_WRONLY | os.O_CREAT),
            "look": lambda: os.stat("/"),
            "list": lambda: os.listdir("/"),
            "read a link": lambda: os.readlink("/proc/self/exe"),
        }
        found = {}
        for name, attempted in tried.items():
            try:
                attempted()
            except OSError as error:
                found[name] = errno.errorcode[error.errno or 0]
        return found

    ended = locked_sender(inside)
    assert ended.value == dict.fromkeys(
        ("open", "open for writing", "look", "list", "read a link"), "EACCES"
    )


HALF_GIB: Final = 1 << 29
PAGES: Final = bytes(64 * 1024)


def test_the_files_of_the_address_book_cannot_fill_the_disk() -> None:
    """Neither by one write after the other, nor by one far behind."""

    def error_of(action: Callable[..., object], *args: object) -> int:
        try:
            action(*args)
        except OSError as error:
            return error.errno or 0
        return 0

    def inside(numbers: Mapping[str, Any]) -> list[tuple[dict[str, int], int]]:
        found = []
        for file in numbers["STORE"]:
            answers = {
                "the first": error_of(os.pwrite, file, PAGES, 0),
                "the last": error_of(os.pwrite, file, PAGES, HALF_GIB - 1),
                "behind": error_of(os.pwrite, file, PAGES, HALF_GIB),
                "far behind": error_of(os.pwrite, file, b"x", 1 << 33),
            }
            size = os.fstat(file).st_size
            answers["shorten"] = error_of(os.ftruncate, file, 4096)
            found.append((answers, size))
        return found

    ended = locked_sender(inside)
    assert (ended.error, ended.signal) == (None, None), ended
    permitted = {"the first", "the last", "shorten"}
    for answers, size in ended.value:
        assert {name for name, error in answers.items() if not error} == permitted
        assert {error for name, error in answers.items() if name not in permitted} == {errno.EFBIG}
        assert size == HALF_GIB - 1 + len(PAGES)
    assert len(ended.value) == 2


# --- in the running daemon ------------------------------------------------------------------


@contextmanager
def broken_into(directory: Path) -> Iterator[Ringer]:
    toml = settings(directory, '[[account]]\nname = "anna"\ntargets = ["127.0.0.1:9"]\n')
    with ringing(directory, toml) as sender:
        yield sender


@traced
def test_inside_the_running_sender_other_ports_and_files_are_refused(open_path: Path) -> None:
    with broken_into(open_path) as sender:
        with intruding(sender) as intruder:

            def raw(name: str, *args: int | bytes) -> int:
                return intruder.call(number(name), *args)

            for port, wanted in ((80, {errno.EACCES}), (22, {errno.EACCES}), (9, CONNECTING)):
                made = raw("socket", socket.AF_INET, TYPE, TCP)
                address = _address(port)
                assert made > 0
                result = raw("connect", made, address, len(address))
                assert -result in wanted or landlock.abi() < 4, (port, result)
                assert raw("close", made) == 0
            for name, args in ON_FILES.items():
                if number(name) >= 0:  # aarch64 has no open(2) and no stat(2)
                    assert raw(name, *args) == -errno.EACCES, name
        sender.say("new anna")
        sender.until_logged("event=refused account=anna")


ON_FILES: Final[dict[str, tuple[int | bytes, ...]]] = {
    "openat": (HERE, b"/etc/passwd\0", os.O_RDONLY),
    "open": (b"/etc/passwd\0", os.O_RDONLY),
    "newfstatat": (HERE, b"/\0", bytes(256), 0),
    "stat": (b"/\0", bytes(256)),
}
CONNECTING: Final = {errno.EINPROGRESS, errno.ECONNREFUSED}


def _address(port: int) -> bytes:
    family = int(socket.AF_INET).to_bytes(2, "little")
    return family + port.to_bytes(2, "big") + socket.inet_aton("127.0.0.1") + bytes(8)


@traced
@pytest.mark.parametrize(
    ("name", "args"),
    [
        ("socket", (int(socket.AF_INET), DATAGRAM, 17)),
        ("execve", (b"/bin/true\0", 0, 0)),
        ("listen", (3, 1)),
    ],
    ids=["UDP", "execute", "listen"],
)
def test_inside_the_running_sender_the_rest_ends_it(
    open_path: Path, name: str, args: tuple[int | bytes, ...]
) -> None:
    with broken_into(open_path) as sender:
        with pytest.raises(Gone), intruding(sender) as intruder:
            intruder.call(number(name), *args)
        assert sender.process.wait(PATIENCE) == -signal.SIGSYS
        with pytest.raises(ConnectionRefusedError), socket.socket(socket.AF_UNIX) as sock:
            sock.connect(str(open_path / "hook"))


@pytest.mark.skipif(os.geteuid() != 0, reason="the kernel shows a filter in force to root only")
def test_the_program_in_force_is_the_one_evaluated(open_path: Path) -> None:
    """Read back from the kernel, it is what the policy compiles to with this process's numbers."""
    with broken_into(open_path) as sender:
        (code,) = filters_of(sender.pid)
        links = {fd: os.readlink(f"/proc/{sender.pid}/fd/{fd}") for fd in open_in(sender)}
        sender.say("new anna")  # being looked at has not changed it
        sender.until_logged("event=refused account=anna")
    decisions = Decisions(decoded(code))

    def permitted(name: str, *rest: int) -> set[int]:
        judge = decisions.judge(NATIVE, number(name))
        more = (*rest, *(0,) * (5 - len(rest)))
        return {fd for fd in range(4096) if judge.answer((fd, *more)) == returned(ALLOW)}

    every = set(range(4096))
    (status,), (wakeup,) = permitted("read"), permitted("write") - {2}
    store = permitted("pread64")
    early = every - permitted("connect", 0, 16)
    shared = every - permitted("ioctl", 0x5421)
    assert {links[fd].rpartition("/")[2] for fd in store} == {"state.db", "state.db-wal"}
    assert links[wakeup].startswith("socket:")
    assert shared < early
    assert len(early - shared) == 1  # the service manager's
    placeholders: dict[str, Numbers] = {
        "SELF": sender.pid, "STATUS": status, "WAKEUP": wakeup, "SHARED": tuple(sorted(shared)),
        "EARLY": tuple(sorted(early)), "STORE": tuple(sorted(store)), "CALLED": TYPE,
    }  # fmt: skip
    subject = native_with(placeholders, open_path, Path(FOLDER, "mailbell-sender.toml"))
    assert subject.code == code


def open_in(sender: Ringer) -> list[int]:
    return [int(name) for name in os.listdir(f"/proc/{sender.pid}/fd")]
