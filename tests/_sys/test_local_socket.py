"""Real sockets in real directories, hostile ones among them."""

import errno
import os
import socket
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from harness.access_list import LISTED, has_access_list, let_user_in_by_default
from harness.child import run
from harness.lingering import needs_refusal, pass_to
from harness.ordinary import let_in

from mailbell._sys import local_socket
from mailbell._sys.local_socket import (
    AlreadyRunningError,
    bind_local,
    bind_local_datagrams,
    examine_local,
    require_safe_passed,
)
from mailbell._sys.sockets import PeerCredentials, peer_credentials
from mailbell._sys.trusted_path import find_weaknesses
from mailbell.core.errors import (
    ConfigurationError,
    MailbellError,
    OperatingSystemError,
    PrivilegeError,
)

STRANGER = 12345


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "mailbell.sock"


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


@pytest.mark.parametrize("mode", [0o660, 0o600, 0o666, 0o060])
def test_it_listens_with_the_mode_asked_for(place: Path, mode: int) -> None:
    umask = os.umask(0o027)
    try:
        with bind_local(str(place), mode, os.getgid()) as sock:
            assert os.umask(0o027) == 0o027
            assert mode_of(place) == mode
            assert place.stat().st_gid == os.getgid()
            assert not sock.getblocking()
            assert not sock.get_inheritable()
            assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
            with socket.socket(socket.AF_UNIX) as peer:
                if mode & 0o200 or os.geteuid() == 0:
                    peer.connect(str(place))
    finally:
        os.umask(umask)


def test_it_is_closed_to_all_until_it_has_its_mode(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    original = local_socket._grant

    def look(path: str, mode: int, gid: int | None) -> None:
        seen.append(mode_of(place))
        original(path, mode, gid)

    monkeypatch.setattr(local_socket, "_grant", look)
    bind_local(str(place), 0o666, None).close()
    assert seen == [0]


@needs_refusal
def test_who_connects_at_the_first_moment_passes_no_descriptor(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A connection has the option as the socket had it when the peer connected."""
    early = []
    original = local_socket._grant

    def connect_and_grant(path: str, mode: int, gid: int | None) -> None:
        place.chmod(0o600)
        early.append(socket.socket(socket.AF_UNIX))
        early[0].connect(path)
        original(path, mode, gid)

    monkeypatch.setattr(local_socket, "_grant", connect_and_grant)
    with bind_local(str(place), 0o660, None), early[0] as peer:
        assert not pass_to(peer)


def test_the_group_comes_before_the_mode(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise the process's own group could connect for a moment."""
    steps = []
    monkeypatch.setattr(os, "chown", lambda *_: steps.append(("chown", mode_of(place))))
    monkeypatch.setattr(os, "chmod", lambda *_: steps.append(("chmod", mode_of(place))))
    bind_local(str(place), 0o660, 12345).close()
    assert steps == [("chown", 0), ("chmod", 0)]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives a file to any group")
def test_root_gives_it_to_any_group(place: Path) -> None:
    with bind_local(str(place), 0o660, 12345):
        assert place.stat().st_gid == 12345


def test_a_group_it_may_not_give_leaves_nothing_behind(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "chown", refuse)
    descriptors = os.listdir("/proc/self/fd")
    with pytest.raises(PrivilegeError, match="in the socket's group"):
        bind_local(str(place), 0o660, 12345)
    assert not place.exists()
    assert os.listdir("/proc/self/fd") == descriptors


def test_an_access_control_list_of_the_folder_lets_nobody_in(tmp_path: Path, place: Path) -> None:
    """acl(5): a new file gets the folder's default list, which may name any user."""
    let_user_in_by_default(tmp_path, LISTED)
    with bind_local(str(place), 0o660, None):
        assert not has_access_list(place)
        assert mode_of(place) == 0o660
        if os.geteuid() == 0:
            let_in(tmp_path)
            assert isinstance(run(lambda: connect_as(LISTED, place)).error, PermissionError)


def connect_as(uid: int, path: Path) -> None:
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(str(path))


@pytest.mark.parametrize("how", ["refused", "without effect"])
def test_a_list_that_cannot_be_removed_is_an_error(
    tmp_path: Path, place: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    def remove(*_: object) -> None:
        if how == "refused":
            raise PermissionError(errno.EPERM, "Operation not permitted")

    let_user_in_by_default(tmp_path, LISTED)
    monkeypatch.setattr(os, "removexattr", remove)
    with pytest.raises(PrivilegeError, match="no permission to make the socket"):
        bind_local(str(place), 0o660, None)
    assert not place.exists()


def passed(place: Path, mode: int = 0o660) -> socket.socket:
    """Make a socket as a service manager does."""
    sock = socket.socket(socket.AF_UNIX)
    sock.bind(str(place))
    place.chmod(mode)
    sock.listen()
    return sock


def test_a_passed_socket_is_looked_at(tmp_path: Path, place: Path) -> None:
    with passed(place):
        require_safe_passed(str(place), 0o660)
        require_safe_passed(str(place), 0o666)
        with pytest.raises(ConfigurationError, match=r"may permit 0600 at most; write Sock"):
            require_safe_passed(str(place), 0o600)
        tmp_path.chmod(0o777)
        with pytest.raises(ConfigurationError, match="who could replace the socket in"):
            require_safe_passed(str(place), 0o660)
        tmp_path.chmod(0o755)
        place.unlink()
        with pytest.raises(ConfigurationError, match=f"local socket is not at {place}; restart"):
            require_safe_passed(str(place), 0o660)
        place.touch()
        with pytest.raises(ConfigurationError, match="has mode"):
            require_safe_passed(str(place), 0o777)


def test_a_passed_socket_has_no_access_control_list(tmp_path: Path, place: Path) -> None:
    let_user_in_by_default(tmp_path, LISTED)
    with passed(place):
        assert has_access_list(place)
        with pytest.raises(ConfigurationError, match="has an access control list, which may let"):
            require_safe_passed(str(place), 0o777)


def test_whether_a_passed_socket_has_a_list_must_be_told(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "getxattr", refuse)
    with passed(place), pytest.raises(OperatingSystemError, match="let the service call lgetxattr"):
        require_safe_passed(str(place), 0o660)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives a file away")
def test_in_a_sticky_folder_the_owner_could_replace_a_passed_socket(
    tmp_path: Path, place: Path
) -> None:
    with passed(place):
        os.chown(place, STRANGER, STRANGER)
        require_safe_passed(str(place), 0o660)
        tmp_path.chmod(0o1777)
        with pytest.raises(ConfigurationError, match=f"belongs to user {STRANGER}, who could"):
            require_safe_passed(str(place), 0o660)
        require_safe_passed(str(place), 0o660, {STRANGER})


def test_a_dead_socket_is_replaced(place: Path) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(place))
    before = place.lstat().st_ino, place.lstat().st_ctime_ns
    with bind_local(str(place), 0o600, None), socket.socket(socket.AF_UNIX) as peer:
        peer.connect(str(place))
    assert (place.lstat().st_ino, place.lstat().st_ctime_ns) != before


def test_the_socket_of_a_killed_process_is_replaced(place: Path) -> None:
    program = (
        "import os, signal, socket, sys\n"
        "sock = socket.socket(socket.AF_UNIX); sock.bind(sys.argv[1]); sock.listen()\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    subprocess.run([sys.executable, "-I", "-c", program, str(place)], check=False)
    assert place.is_socket()
    bind_local(str(place), 0o600, None).close()


@pytest.mark.parametrize("full", [False, True])
def test_a_live_socket_is_left_alone(place: Path, full: bool) -> None:
    with socket.socket(socket.AF_UNIX) as live, socket.socket(socket.AF_UNIX) as waiting:
        live.bind(str(place))
        live.listen(0)
        if full:
            waiting.connect(str(place))
        inode = place.lstat().st_ino
        with pytest.raises(OperatingSystemError, match="another mailbelld is running") as caught:
            bind_local(str(place), 0o600, None)
        assert caught.value.exit_code == 71
        assert place.lstat().st_ino == inode


@needs_refusal
@pytest.mark.parametrize("probe", [bind_local, examine_local])
def test_who_listens_cannot_delay_the_probe(
    place: Path, monkeypatch: pytest.MonkeyPatch, probe: Callable[..., object]
) -> None:
    """The probe closes a connection that it never reads, with all descriptors in it."""
    taken = []
    with socket.socket(socket.AF_UNIX) as live:
        live.bind(str(place))
        live.listen()

        def look(sock: socket.socket) -> PeerCredentials:
            with live.accept()[0] as connection:
                taken.append(pass_to(connection))
            return peer_credentials(sock)

        monkeypatch.setattr(local_socket, "peer_credentials", look)
        words = (0o600, None) if probe is bind_local else (None,)
        with pytest.raises(AlreadyRunningError):
            probe(str(place), *words)
    assert taken == [False]


def test_a_datagram_socket_is_left_alone(place: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other:
        other.bind(str(place))
        with pytest.raises(ConfigurationError, match="a socket of another kind"):
            bind_local(str(place), 0o600, None)
    assert place.is_socket()


def test_a_socket_it_cannot_ask_is_left_alone(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As with another user's socket: it is unknown whether it is dead."""
    monkeypatch.setattr(socket.socket, "connect_ex", lambda *_: errno.EACCES)
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(place))
    with pytest.raises(PrivilegeError, match="Permission denied"):
        bind_local(str(place), 0o600, None)
    assert place.is_socket()


@pytest.fixture(params=["file", "directory", "fifo", "link to nothing", "link to a dead socket"])
def obstacle(request: pytest.FixtureRequest, place: Path) -> Path:
    target = place.with_name("target")
    match request.param:
        case "file":
            place.write_text("precious")
        case "directory":
            place.mkdir()
        case "fifo":
            os.mkfifo(place)
        case "link to nothing":
            place.symlink_to(target)
        case _:
            with socket.socket(socket.AF_UNIX) as dead:
                dead.bind(str(target))
            place.symlink_to(target)
    return place


def test_anything_else_is_left_alone(obstacle: Path) -> None:
    target = obstacle.with_name("target")
    before = obstacle.lstat(), os.path.lexists(target)
    with pytest.raises(ConfigurationError, match=r"exists and is (no socket|a symbolic link)"):
        bind_local(str(obstacle), 0o600, None)
    assert obstacle.lstat() == before[0]
    assert os.path.lexists(target) == before[1]


@pytest.mark.parametrize("kind", ["file", "socket"])
@pytest.mark.parametrize("bait", ["link", "hard link"])
def test_a_name_swapped_after_bind_gives_no_rights(
    place: Path, monkeypatch: pytest.MonkeyPatch, bait: str, kind: str
) -> None:
    """The owner of the directory must not make root open another file or another user's socket."""
    victim = place.with_name("victim")
    if kind == "file":
        victim.write_text("secret")
    else:
        with socket.socket(socket.AF_UNIX) as other:
            other.bind(str(victim))
    victim.chmod(0o600)
    bind = local_socket._bind_closed

    def bind_and_swap(sock: socket.socket, path: str) -> None:
        bind(sock, path)
        place.unlink()
        if bait == "link":
            place.symlink_to(victim)
        else:
            place.hardlink_to(victim)

    monkeypatch.setattr(local_socket, "_bind_closed", bind_and_swap)
    with pytest.raises(OperatingSystemError):
        bind_local(str(place), 0o666, os.getgid())
    assert mode_of(victim) == 0o600


def test_a_name_taken_meanwhile(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local_socket, "_find_dead", lambda *_: False)
    place.write_text("")
    with pytest.raises(OperatingSystemError, match="another mailbelld is running"):
        bind_local(str(place), 0o600, None)
    assert place.exists()


@pytest.mark.parametrize("path", ["", "\0abstract", "/run/mail\0bell", "/run/mailbell/"])
def test_what_is_no_path(path: str) -> None:
    with pytest.raises(ConfigurationError, match="names no file"):
        bind_local(path, 0o600, None)


def test_the_longest_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    bind_local("x" * 107, 0o600, None).close()
    with pytest.raises(ConfigurationError, match=r"108 bytes long.*at most 107"):
        bind_local("x" * 108, 0o600, None)
    with pytest.raises(ConfigurationError, match="110 bytes long"):
        bind_local("é" * 55, 0o600, None)  # bytes count, not letters


def test_the_directory_must_exist(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for missing in (tmp_path / "missing", tmp_path / "file" / "below"):
        with pytest.raises(ConfigurationError, match=r"does not exist; create it .*tmpfiles"):
            bind_local(str(missing / "s"), 0o600, None)
    with pytest.raises(ConfigurationError, match="is no directory"):
        bind_local(str(tmp_path / "file" / "s"), 0o600, None)


def test_a_directory_anyone_may_write_to(tmp_path: Path, place: Path) -> None:
    tmp_path.chmod(0o777)
    with pytest.raises(ConfigurationError, match=r"replace the socket in .*; chmod go-w") as caught:
        bind_local(str(place), 0o600, None)
    assert caught.value.exit_code == 78
    tmp_path.chmod(0o1777)
    bind_local(str(place), 0o600, None).close()


def test_a_directory_that_comes_and_goes_is_refused(
    tmp_path: Path, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a sticky folder another user removes it while it is looked at, and makes it again."""
    tmp_path.chmod(0o1777)
    (tmp_path / "x").mkdir()
    (tmp_path / "x").chmod(0o777)

    def find(*words: Any, **more: Any) -> Any:
        (tmp_path / "x").rename(tmp_path / "away")
        try:
            return find_weaknesses(*words, **more)
        finally:
            (tmp_path / "away").rename(tmp_path / "x")

    monkeypatch.setattr(local_socket, "find_weaknesses", find)
    with pytest.raises(ConfigurationError, match="x does not exist"):
        bind_local(str(tmp_path / "x/s"), 0o600, None)
    assert list((tmp_path / "x").iterdir()) == []


@pytest.mark.parametrize("directory_mode", [0o000, 0o500])
def test_no_permission(tmp_path: Path, place: Path, directory_mode: int) -> None:
    before = os.geteuid()
    closed = tmp_path / "closed"
    closed.mkdir()
    closed.chmod(directory_mode)
    tmp_path.chmod(0o711)
    if before == 0:
        let_in(tmp_path.parent)
        os.chown(closed, 65534, -1)
        os.seteuid(65534)
    try:
        with pytest.raises(PrivilegeError, match="no permission to make the socket"):
            bind_local(str(closed / "s"), 0o600, None)
        with pytest.raises((PrivilegeError, ConfigurationError)):
            bind_local(str(closed / "below" / "s"), 0o600, None)
    finally:
        os.seteuid(before)
        closed.chmod(0o700)


def refusal(path: Path, gid: int | None = None) -> str:
    """Return the error of `bind_local`; `examine_local` must give the same and change nothing."""
    before = sorted((p, p.lstat()) for p in path.parent.iterdir()) if path.parent.is_dir() else []
    with pytest.raises(MailbellError) as examined:
        examine_local(str(path), gid)
    assert before == (
        sorted((p, p.lstat()) for p in path.parent.iterdir()) if path.parent.is_dir() else []
    )
    with pytest.raises(MailbellError) as bound:
        bind_local(str(path), 0o600, gid)
    assert str(examined.value) == str(bound.value)
    assert examined.value.exit_code == bound.value.exit_code
    return str(bound.value)


def test_examining_says_what_binding_would(obstacle: Path) -> None:
    assert "remove it yourself" in refusal(obstacle)
    assert "names no file" in refusal(obstacle.with_name("mail\0bell"))
    assert "does not exist" in refusal(obstacle.with_name("missing") / "s")


def test_examining_a_free_name_makes_nothing(tmp_path: Path, place: Path) -> None:
    examine_local(str(place), os.getgid())
    assert list(tmp_path.iterdir()) == []


def test_examining_a_dead_socket_leaves_it(place: Path) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(place))
    before = place.lstat()
    examine_local(str(place), None)
    assert place.lstat() == before


def test_examining_a_live_socket_tells_whose_it_is(place: Path) -> None:
    with bind_local(str(place), 0o600, None):
        with pytest.raises(AlreadyRunningError) as caught:
            examine_local(str(place), None)
        assert caught.value.pid == os.getpid()
        assert "another mailbelld is running" in refusal(place)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes somebody else")
@pytest.mark.parametrize("mode", [0o500, 0o755, 0o1777])
def test_examining_knows_what_this_user_may_not(tmp_path: Path, mode: int) -> None:
    """A directory that it may not write to, and another user's dead socket in one that it may."""
    let_in(tmp_path)
    directory = tmp_path / "directory"
    directory.mkdir()
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(directory / "s"))
    (directory / "s").chmod(0o666)
    directory.chmod(mode)
    os.seteuid(65534)
    try:
        if mode == 0o1777:
            assert "no permission to make the socket" in refusal(directory / "s")
            examine_local(str(directory / "another"), None)
        else:
            with pytest.raises(PrivilegeError, match="no permission to make the socket"):
                examine_local(str(directory / "another"), None)
            with pytest.raises(PrivilegeError, match="no permission to make the socket"):
                bind_local(str(directory / "another"), 0o600, None)
    finally:
        os.seteuid(0)


def test_a_file_system_that_cannot_be_written(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.statvfs(place.parent)

    class ReadOnly:
        f_flag = real.f_flag | os.ST_RDONLY

    monkeypatch.setattr(os, "statvfs", lambda _: ReadOnly)
    with pytest.raises(OperatingSystemError, match="Read-only file system; check the file system"):
        examine_local(str(place), None)


def test_a_group_the_user_namespace_does_not_have(
    tmp_path: Path, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """chown(2) answers EINVAL, whose text alone would not help the operator."""

    def refuse(*_: object) -> None:
        raise OSError(errno.EINVAL, "Invalid argument")

    table = tmp_path / "gid_map"
    table.write_text("         0     100000          1\n       10         10          5\n")
    monkeypatch.setattr(local_socket, "_GROUP_MAP", str(table))
    monkeypatch.setattr(os, "chown", refuse)
    for group in (1, 9, 15):
        assert f"to group {group}: this user namespace has no such group; map" in refusal(
            place, group
        )
    for group in (0, 10, 14):
        examine_local(str(place), group)
    table.unlink()
    examine_local(str(place), 1)


def test_datagrams_arrive_and_a_dead_socket_is_replaced(place: Path) -> None:
    with bind_local_datagrams(str(place), 0o660, None) as sock:
        assert place.stat().st_mode & 0o777 == 0o660
        assert not sock.getblocking()
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as peer:
            peer.sendto(b"new", str(place))
        assert sock.recv(64) == b"new"
        with pytest.raises(AlreadyRunningError, match="another mailbell-x is running"):
            bind_local_datagrams(str(place), 0o660, None, program="mailbell-x")
        with pytest.raises(ConfigurationError, match="a socket of another kind"):
            bind_local(str(place), 0o660, None)
    bind_local_datagrams(str(place), 0o660, None).close()
