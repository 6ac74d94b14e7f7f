"""Landlock forbids what it says that it forbids."""

import errno
import os
import shutil
import signal
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from harness.child import Ended, run

from mailbell._sys import credentials, landlock, process
from mailbell.core.errors import OperatingSystemError

try:
    ABI = landlock.abi()
except OperatingSystemError as error:
    pytest.skip(str(error), allow_module_level=True)

# The rights of linux/landlock.h before each addition.
FS_V1 = (1 << 13) - 1


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
    ("version", "fs", "net", "scoped", "missing"),
    [
        (1, FS_V1, 0, 0, 4),
        (2, FS_V1 | 1 << 13, 0, 0, 4),
        (3, FS_V1 | 3 << 13, 0, 0, 3),
        (4, FS_V1 | 3 << 13, 3, 0, 2),
        (5, FS_V1 | 7 << 13, 3, 0, 1),
        (6, FS_V1 | 7 << 13, 3, 3, 0),
        (7, FS_V1 | 7 << 13, 3, 3, 0),
        (99, FS_V1 | 7 << 13, 3, 3, 0),  # of a newer kernel only the tested rights are requested
    ],
)
def test_what_each_version_covers(
    version: int, fs: int, net: int, scoped: int, missing: int
) -> None:
    plan = landlock.plan(version)
    assert (plan.abi, plan.handled_fs, plan.handled_net, plan.scoped) == (version, fs, net, scoped)
    assert plan.used == min(version, landlock.PINNED)
    assert len(plan.uncovered) == missing + len(landlock.NEVER)


def test_the_kernel_knows_every_pinned_right() -> None:
    if ABI < landlock.PINNED:
        pytest.skip(f"this kernel offers version {ABI}")
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


@pytest.mark.skipif(ABI < 4, reason="TCP came with version 4")
def test_no_tcp() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = server.getsockname()
        assert restricted(
            lambda: [
                failure(lambda: socket.create_connection(address)),
                failure(lambda: socket.create_server(("127.0.0.1", 0))),
            ]
        ).value == ["EACCES", "EACCES"]


@pytest.mark.skipif(ABI < 6, reason="scopes came with version 6")
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


def test_one_port_may_be_connected_to_and_no_other() -> None:
    if ABI < 4:
        pytest.skip("TCP came with version 4")
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
