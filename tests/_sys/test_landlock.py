"""Landlock forbids what it says that it forbids."""

import errno
import os
import shutil
import signal
import socket
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from harness.child import Ended, run
from harness.sender import PATIENCE

from mailbell._sys import credentials, landlock, process
from mailbell.core.errors import OperatingSystemError

try:
    ABI = landlock.abi()
except OperatingSystemError as error:
    pytest.skip(str(error), allow_module_level=True)

# The rights of linux/landlock.h before each addition.
FS_V1 = (1 << 13) - 1
FS_V5, FS_V9 = FS_V1 | 7 << 13, FS_V1 | 15 << 13


def since(version: int) -> pytest.MarkDecorator:
    """Skip a test of what a version of Landlock was the first to have."""
    return pytest.mark.skipif(version > ABI, reason=f"this kernel offers version {ABI}")


def restricted(function: Callable[[], object]) -> Ended:
    def inside() -> object:
        process.no_new_privileges()
        landlock.restrict()
        return function()

    return run(inside)


def failure(function: Callable[[], object]) -> str:
    try:
        function()
    except OSError as error:
        return errno.errorcode[error.errno or 0]
    return "succeeded"


@pytest.mark.parametrize(
    ("version", "fs", "net", "scoped", "flags", "missing"),
    [
        (1, FS_V1, 0, 0, 0, 6),
        (2, FS_V1 | 1 << 13, 0, 0, 0, 6),
        (3, FS_V1 | 3 << 13, 0, 0, 0, 5),
        (4, FS_V1 | 3 << 13, 3, 0, 0, 4),
        (5, FS_V5, 3, 0, 0, 3),
        (6, FS_V5, 3, 3, 0, 2),
        (7, FS_V5, 3, 3, 0, 2),
        (8, FS_V5, 3, 3, 8, 2),
        (9, FS_V9, 3, 3, 8, 1),
        (10, FS_V9, 15, 3, 8, 0),
        (11, FS_V9, 15, 3, 8, 0),  # of a newer kernel only the tested rights are requested
        (99, FS_V9, 15, 3, 8, 0),
    ],
)
def test_what_each_version_covers(
    version: int, fs: int, net: int, scoped: int, flags: int, missing: int
) -> None:
    plan = landlock.plan(version)
    assert (plan.abi, plan.handled_fs, plan.handled_net, plan.scoped) == (version, fs, net, scoped)
    assert plan.flags == flags
    assert plan.used == min(version, landlock.PINNED)
    assert len(plan.uncovered) == missing + len(landlock.NEVER)


@pytest.mark.parametrize("version", range(1, 12))
def test_each_version_is_asked_for_nothing_that_a_later_one_brought(
    monkeypatch: pytest.MonkeyPatch, version: int
) -> None:
    """Nothing is found out by trying: a kernel of one version gets that version's rights only."""
    asked: list[tuple[int, ...]] = []

    def kernel(number: int, first: object, *rest: object) -> int:
        if number == landlock.CREATE_RULESET:
            if first is None:
                return version
            attributes = first._obj  # type: ignore[attr-defined]
            fields = (field for field, *_ in attributes._fields_)
            asked.append(tuple(getattr(attributes, field) for field in fields))
            return os.open("/dev/null", os.O_RDONLY)
        if number == landlock.ADD_RULE:
            asked.append((rest[1]._obj.allowed_access, rest[1]._obj.port))  # type: ignore[attr-defined]
        else:
            asked.append((rest[0].value,))  # type: ignore[attr-defined]
        return 0

    monkeypatch.setattr(landlock, "syscall", kernel)
    monkeypatch.setattr(landlock, "_require_in_force", lambda _: None)
    plan = landlock.restrict(connect_to={79}, send_to={53})
    rules = [(2, 79)] * (version >= 4) + [(8, 53), (4, 0)] * (version >= 10)
    assert asked == [(plan.handled_fs, plan.handled_net, plan.scoped), *rules, (plan.flags,)]
    assert plan == landlock.plan(version)


@since(landlock.PINNED)
def test_the_kernel_knows_every_pinned_right() -> None:
    ended = restricted(lambda: None)
    assert ended.code == 0, ended


def test_it_says_what_is_in_force() -> None:
    def inside() -> object:
        process.no_new_privileges()
        return landlock.restrict()

    assert run(inside).value == landlock.plan(ABI)


@pytest.mark.parametrize("path", ["/", "/etc/passwd", "/dev/null", "/proc/self/status"])
def test_nothing_can_be_opened(path: str) -> None:
    assert failure(lambda: os.close(os.open(path, os.O_RDONLY))) == "succeeded"
    assert restricted(lambda: failure(lambda: os.open(path, os.O_RDONLY))).value == "EACCES"


def test_nothing_can_be_made_or_run(tmp_path: object) -> None:
    attempts: list[Callable[[], object]] = [
        lambda: os.mkdir(f"{tmp_path}/directory"),
        lambda: os.symlink("target", f"{tmp_path}/link"),
        lambda: os.open(f"{tmp_path}/file", os.O_CREAT | os.O_WRONLY),
        lambda: os.mkfifo(f"{tmp_path}/fifo"),
        lambda: socket.socket(socket.AF_UNIX).bind(f"{tmp_path}/socket"),
        lambda: os.rename(f"{tmp_path}/a", f"{tmp_path}/b"),
        lambda: os.unlink(f"{tmp_path}/a"),
        lambda: os.execv("/bin/true", ["true"]),
    ]
    open(f"{tmp_path}/a", "w").close()
    assert restricted(lambda: list(map(failure, attempts))).value == ["EACCES"] * len(attempts)


def test_one_folder_is_left_until_all_files_are_given_up(tmp_path: Path) -> None:
    """Files in the folder can be used and nothing be executed; the last step takes the folder."""
    folder, outside = tmp_path / "own", tmp_path / "outside"
    folder.mkdir()
    outside.touch()
    program = folder / "program"
    shutil.copy("/bin/true", program)
    (folder / "old").touch()
    good: list[Callable[[], object]] = [
        lambda: (folder / "new").write_text("text"),
        (folder / "new").read_text,
        lambda: os.truncate(folder / "new", 1),
        lambda: (folder / "new").rename(folder / "renamed"),
        (folder / "old").unlink,
        lambda: os.listdir(folder),
        lambda: os.close(os.open("/dev/urandom", os.O_RDONLY)),
    ]
    bad: list[Callable[[], object]] = [
        lambda: os.close(os.open("/dev/urandom", os.O_WRONLY)),
        lambda: os.close(os.open("/dev/null", os.O_RDONLY)),
        lambda: os.close(os.open("/etc/passwd", os.O_RDONLY)),
        lambda: os.close(os.open("/proc/self/status", os.O_RDONLY)),
        lambda: os.close(os.open(outside, os.O_RDONLY)),
        lambda: os.close(os.open(folder / ".." / "outside", os.O_RDONLY)),
        lambda: os.listdir(tmp_path),
        outside.unlink,
        lambda: (folder / "link").symlink_to("/etc/passwd"),
        lambda: os.mkfifo(folder / "fifo"),
        lambda: os.mkdir(folder / "folder"),
        lambda: os.execv(program, ["true"]),
        lambda: os.execv("/bin/true", ["true"]),
    ]

    def inside() -> object:
        process.no_new_privileges()
        landlock.confine_files(str(folder), ("/dev/urandom",))
        answers = list(map(failure, good)), list(map(failure, bad))
        restricted = landlock.restrict(witness=str(folder))
        last = [failure(lambda: os.listdir(folder)), failure(program.read_bytes)]
        return answers, restricted == landlock.plan(ABI), last

    ended = run(inside)
    assert ended.value == (
        (["succeeded"] * len(good), ["EACCES"] * len(bad)),
        True,
        ["EACCES", "EACCES"],
    ), ended


def test_a_folder_that_is_missing_cannot_be_left(tmp_path: Path) -> None:
    def inside() -> object:
        process.no_new_privileges()
        landlock.confine_files(str(tmp_path / "missing"))
        return None

    assert isinstance(run(inside).error, FileNotFoundError)


def test_files_cannot_be_given_up_without_no_new_privs(tmp_path: Path) -> None:
    def inside() -> object:
        credentials.clear_capabilities()  # with CAP_SYS_ADMIN it may be done without
        landlock.confine_files(str(tmp_path))
        return None

    assert isinstance(run(inside).error, OperatingSystemError)


@since(4)
def test_no_tcp() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = server.getsockname()
        assert restricted(
            lambda: [
                failure(lambda: socket.socket().connect(address)),
                failure(lambda: socket.socket().bind(("127.0.0.1", 0))),
            ]
        ).value == ["EACCES", "EACCES"]


@since(6)
def test_no_neighbours() -> None:
    name = b"\0mailbell-test-%d" % os.getpid()
    parent = os.getpid()
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(name)
        server.listen()
        assert restricted(
            lambda: [
                failure(lambda: socket.socket(socket.AF_UNIX).connect(name)),
                failure(lambda: os.kill(parent, 0)),
                failure(lambda: os.kill(os.getpid(), signal.SIGCONT)),
            ]
        ).value == ["EPERM", "EPERM", "succeeded"]


def test_what_was_open_stays_open() -> None:
    with open("/etc/passwd", "rb") as file:
        assert restricted(lambda: len(file.read()) > 0).value is True


@pytest.mark.parametrize(
    ("number", "remedy"),
    [
        (errno.ENOSYS, "Linux 5.13"),
        (errno.EOPNOTSUPP, "lsm= parameter"),
        (errno.EPERM, "another sandbox"),
    ],
)
def test_a_kernel_without_it(monkeypatch: pytest.MonkeyPatch, number: int, remedy: str) -> None:
    def refuse(*_: object) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(landlock, "syscall", refuse)
    with pytest.raises(OperatingSystemError, match=remedy) as caught:
        landlock.restrict()
    assert caught.value.exit_code == 71


def test_it_refuses_without_no_new_privs() -> None:
    def inside() -> str:
        if os.geteuid() == 0:
            os.setresuid(65534, 65534, 65534)  # CAP_SYS_ADMIN would do instead
        try:
            landlock.restrict()
        except OperatingSystemError as error:
            return str(error)
        return "succeeded"

    assert "no_new_privs must be set first" in run(inside).value


def test_no_descriptor_is_left_behind() -> None:
    def inside() -> bool:
        process.no_new_privileges()
        before = os.dup(0)
        os.close(before)
        landlock.restrict()
        return os.dup(0) == before

    assert run(inside).value is True


@since(4)
def test_one_port_may_be_connected_to_and_no_other() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as good,
        socket.create_server(("::1", 0), family=socket.AF_INET6) as other,
    ):
        port = good.getsockname()[1]

        def inside() -> object:
            process.no_new_privileges()
            landlock.restrict(connect_to={port})
            caller, again, server = (socket.socket() for _ in range(3))
            third = socket.socket(socket.AF_INET6)
            return (
                failure(lambda: caller.connect(good.getsockname())),
                failure(lambda: third.connect(other.getsockname())),
                failure(lambda: again.connect(("127.0.0.1", other.getsockname()[1]))),
                failure(lambda: server.bind(("127.0.0.1", 0))),
                failure(lambda: os.open("/", os.O_RDONLY)),
            )

        assert run(inside).value == ("succeeded", *("EACCES",) * 4)


@since(landlock.EVERY_THREAD)
def test_every_thread_is_bound() -> None:
    """It is the daemon's one thread that is restricted. Another would not stay free either."""

    def inside() -> object:
        process.no_new_privileges()
        go, answers = threading.Event(), []

        def other() -> None:
            assert go.wait(PATIENCE)
            answers.append(failure(lambda: os.close(os.open("/", os.O_RDONLY))))

        thread = threading.Thread(target=other)
        thread.start()
        landlock.restrict()
        go.set()
        thread.join(PATIENCE)
        return answers

    assert run(inside).value == ["EACCES"]


def connected(path: str) -> Callable[[], object]:
    return lambda: socket.socket(socket.AF_UNIX).connect(path)


@since(9)
def test_no_unix_socket_by_path(tmp_path: Path) -> None:
    """Neither by a connection nor by a datagram; a socket that was connected before goes on."""
    stream, datagram = str(tmp_path / "stream"), str(tmp_path / "datagram")
    with (
        socket.socket(socket.AF_UNIX) as server,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as box,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as early,
    ):
        server.bind(stream)
        server.listen()
        box.bind(datagram)
        box.settimeout(PATIENCE)
        early.connect(datagram)
        attempts: list[Callable[[], object]] = [
            connected(stream),
            lambda: socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).connect(datagram),
            lambda: socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).sendto(b"late", datagram),
        ]
        assert run(lambda: list(map(failure, attempts))).value == ["succeeded"] * len(attempts)
        assert box.recv(16) == b"late"
        refused = ["EACCES"] * len(attempts)
        assert restricted(
            lambda: [*map(failure, attempts), failure(lambda: early.send(b"early"))]
        ).value == [*refused, "succeeded"]
        assert box.recv(16) == b"early"


@since(6)
def test_who_is_left_with_a_folder_may_be_alone_with_it(tmp_path: Path) -> None:
    """Unless it is asked for, the first layer leaves the network for the second one to judge."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = server.getsockname()
        parent = os.getpid()

        def inside(alone: bool) -> list[str]:
            process.no_new_privileges()
            landlock.confine_files(str(tmp_path), alone=alone)
            return [
                failure(lambda: socket.socket().connect(address)),
                failure(lambda: os.kill(parent, 0)),
            ]

        assert run(lambda: inside(False)).value == ["succeeded", "succeeded"]
        assert run(lambda: inside(True)).value == ["EACCES", "EPERM"]


@since(9)
def test_a_folder_that_is_left_lets_no_socket_in_it_be_reached(tmp_path: Path) -> None:
    path = str(tmp_path / "socket")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path)
        server.listen()

        def inside() -> object:
            process.no_new_privileges()
            before = failure(connected(path))
            landlock.confine_files(str(tmp_path))
            return before, failure(connected(path)), failure(lambda: os.listdir(tmp_path))

        assert run(inside).value == ("succeeded", "EACCES", "succeeded")


FAMILIES = [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")]


def datagrams(family: socket.AddressFamily, host: str) -> socket.socket:
    """A socket that takes datagrams on a port of its own."""
    sock = socket.socket(family, socket.SOCK_DGRAM)
    sock.bind((host, 0))
    sock.settimeout(PATIENCE)
    return sock


@since(10)
@pytest.mark.parametrize(("family", "host"), FAMILIES, ids=["IPv4", "IPv6"])
def test_no_udp(family: socket.AddressFamily, host: str) -> None:
    """Neither bound, nor connected, nor sent. What was bound or connected before goes on."""
    with (
        datagrams(family, host) as server,
        datagrams(family, host) as bound,
        socket.socket(family, socket.SOCK_DGRAM) as early,
    ):
        address = server.getsockname()[:2]
        early.connect(address)

        def new() -> socket.socket:
            return socket.socket(family, socket.SOCK_DGRAM)

        attempts: list[Callable[[], object]] = [
            lambda: new().bind((host, 0)),
            lambda: new().connect(address),
            lambda: new().sendto(b"x", address),
            lambda: bound.sendto(b"x", address),
            lambda: early.sendto(b"x", address),
            lambda: bound.connect(address),
        ]
        kept: list[Callable[[], object]] = [lambda: early.send(b"early"), lambda: bound.recv(16)]
        for _ in range(2):
            with socket.socket(family, socket.SOCK_DGRAM) as sender:
                sender.sendto(b"to us", bound.getsockname()[:2])
        assert run(lambda: list(map(failure, attempts))).value == ["succeeded"] * len(attempts)
        answers = restricted(lambda: list(map(failure, [*attempts, *kept]))).value
        assert answers == ["EACCES"] * len(attempts) + ["succeeded"] * len(kept)


@since(10)
@pytest.mark.parametrize(("family", "host"), FAMILIES, ids=["IPv4", "IPv6"])
def test_one_port_may_be_sent_to_by_udp_and_no_other(
    family: socket.AddressFamily, host: str
) -> None:
    with datagrams(family, host) as good, datagrams(family, host) as other:
        port, another = good.getsockname()[1], other.getsockname()[1]

        def new(kind: socket.SocketKind = socket.SOCK_DGRAM) -> socket.socket:
            return socket.socket(family, kind)

        def inside() -> object:
            process.no_new_privileges()
            landlock.restrict(send_to={port})
            caller = new()
            return [
                failure(lambda: caller.connect((host, port))),
                failure(lambda: caller.send(b"for you")),
                failure(lambda: caller.connect((host, another))),
                failure(lambda: new().connect((host, another))),
                failure(lambda: new().sendto(b"x", (host, another))),
                failure(lambda: new().bind((host, another + 1))),
                failure(lambda: new(socket.SOCK_STREAM).connect((host, port))),
            ]

        assert run(inside).value == ["succeeded"] * 2 + ["EACCES"] * 5
        assert good.recv(16) == b"for you"
