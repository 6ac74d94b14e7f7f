"""Privileges are gone for ever, and a way back is noticed."""

import ctypes
import errno
import grp
import os
import pwd
import socket
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import pytest
from harness.child import run, run_as_root

from mailbell._sys import credentials
from mailbell._sys._libc import prctl
from mailbell._sys.credentials import Capabilities, Identity
from mailbell._sys.proof import ProcessStatus, parse_status
from mailbell._sys.undumpable import PR_GET_DUMPABLE, PR_SET_DUMPABLE, make_undumpable
from mailbell.core.errors import (
    ConfigurationError,
    InternalError,
    OperatingSystemError,
    PrivilegeError,
)

SOMEBODY = Identity("somebody", 54321, 54322)
NONE = Capabilities(0, 0, 0)
PR_SET_PTRACER = 0x59616D61
# A namespace that was made without privilege has one user only, so there is no user to become.
needs_root = pytest.mark.skipif(
    os.geteuid() != 0, reason="needs root: a user namespace of one's own has only one user"
)


def status() -> ProcessStatus:
    return parse_status(Path("/proc/self/status").read_bytes())


@needs_root
def test_drop_to() -> None:
    def inside() -> ProcessStatus:
        os.setgroups([4, 5])
        credentials.empty_bounding_set()
        credentials.become(SOMEBODY)
        return status()

    ended = run(inside)
    assert ended.code == 0, ended
    assert ended.value.uids == (54321,) * 4
    assert ended.value.gids == (54322,) * 4
    assert ended.value.groups == ()
    assert ended.value.capabilities == 0
    assert ended.value.bounding == 0


@needs_root
@pytest.mark.parametrize(
    "secbits",
    [1 << 2, 1 << 4, 1 << 2 | 1 << 3],
    ids=["no_setuid_fixup", "keep_caps", "no_setuid_fixup, locked"],
)
def test_drop_to_although_the_starter_asked_to_keep_capabilities(secbits: int) -> None:
    def inside() -> int:
        prctl(28, secbits)  # PR_SET_SECUREBITS
        credentials.become(SOMEBODY)
        return status().capabilities

    ended = run(inside)
    assert ended.value == 0, ended


@needs_root
def test_no_process_of_the_new_user_gets_in_at_the_change(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The kernel makes the process dumpable at that moment if fs.suid_dumpable is 1."""

    def inside() -> list[int]:
        attempts = []

        def attacked() -> None:
            prctl(PR_SET_DUMPABLE, 1)
            with suppress(OSError):  # for kernels with Yama
                prctl(PR_SET_PTRACER, (1 << 64) - 1)
            other = os.fork()
            if not other:
                credentials.clear_capabilities()
                try:
                    os.open(f"/proc/{os.getppid()}/mem", os.O_RDWR)
                except OSError as error:
                    os._exit(error.errno or 1)
                os._exit(0)
            attempts.append(os.waitstatus_to_exitcode(os.waitpid(other, 0)[1]))
            make_undumpable()

        monkeypatch.setattr(credentials, "make_undumpable", attacked)
        credentials.become(SOMEBODY)
        return [*attempts, prctl(PR_GET_DUMPABLE)]

    assert run(inside).value == [errno.EACCES, 0]


@needs_root
def test_drop_to_with_ambient_capabilities() -> None:
    def inside() -> int:
        everything = credentials.read_capabilities().permitted
        credentials._capset(Capabilities(everything, everything, everything))
        prctl(credentials.PR_CAP_AMBIENT, 2, 10, 0, 0)  # raise CAP_NET_BIND_SERVICE
        assert status().ambient == 1 << 10
        credentials.become(SOMEBODY)
        return status().capabilities

    ended = run(inside)
    assert ended.value == 0, ended


@needs_root
def test_drop_to_reaches_every_thread() -> None:
    def inside() -> set[str]:
        import threading

        stop = threading.Event()
        threading.Thread(target=stop.wait, daemon=True).start()
        os.setresuid(54321, 54321, 54321)
        return {
            line
            for task in Path("/proc/self/task").iterdir()
            for line in (task / "status").read_text().splitlines()
            if line.startswith("Uid:")
        }

    assert run(inside).value == {"Uid:\t54321\t54321\t54321\t54321"}


def test_drop_to_needs_privilege() -> None:
    def inside() -> None:
        if os.geteuid() == 0:
            os.setresuid(54321, 54321, 54321)
        credentials.become(Identity("somebody", 54320, 54320))

    ended = run(inside)
    assert isinstance(ended.error, PrivilegeError)
    assert ended.error.exit_code == 77
    assert "cannot become somebody" in str(ended.error)


@needs_root
@pytest.mark.parametrize(
    ("groups", "saved_gid", "saved_uid"),
    [([], 54322, 0), ([], 0, 54321), ([7], 54322, 54321)],
    ids=["saved uid", "saved gid", "groups"],
)
def test_what_is_left_is_noticed(groups: list[int], saved_gid: int, saved_uid: int) -> None:
    def inside() -> None:
        os.setgroups(groups)
        os.setresgid(54322, 54322, saved_gid)
        os.setresuid(54321, 54321, saved_uid)
        credentials.require_identity(SOMEBODY)

    ended = run(inside)
    assert isinstance(ended.error, InternalError)
    assert "not somebody alone" in str(ended.error)


@needs_root
def test_a_way_back_is_noticed() -> None:
    def inside() -> None:
        prctl(28, 1 << 2)  # SECBIT_NO_SETUID_FIXUP: CAP_SETUID stays
        os.setgroups([])
        os.setresgid(54322, 54322, 54322)
        os.setresuid(54321, 54321, 54321)
        credentials.require_identity(SOMEBODY)

    ended = run(inside)
    assert isinstance(ended.error, InternalError)
    assert ended.error.what == "setresuid succeeded after every privilege was dropped"


def test_an_unexpected_failure_is_no_proof() -> None:
    def refuse() -> None:
        raise OSError(errno.EAGAIN, "try again")

    with pytest.raises(InternalError, match="not as expected"):
        credentials._must_fail("setuid", refuse)


def test_clear_capabilities() -> None:
    def inside() -> list[object]:
        before = credentials.read_capabilities()
        credentials.clear_capabilities()
        failed = "succeeded"
        try:
            socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
        except PermissionError:
            failed = "EPERM"
        return [
            before.effective != 0,
            credentials.read_capabilities(),
            status().capabilities,
            failed,
        ]

    assert run_as_root(inside).value == [True, NONE, 0, "EPERM"]


def test_held_capabilities_are_what_the_kernel_shows() -> None:
    def inside() -> tuple[Capabilities, ProcessStatus]:
        return credentials.read_capabilities(), status()

    held, shown = run_as_root(inside).value
    assert held == Capabilities(shown.effective, shown.permitted, shown.inheritable)


def test_all_64_bits_travel() -> None:
    def inside() -> Capabilities:
        permitted = credentials.read_capabilities().permitted
        credentials._capset(Capabilities(1 << 38, permitted, 1 << 5))  # CAP_PERFMON, CAP_KILL
        return credentials.read_capabilities()

    held = run_as_root(inside).value
    assert (held.effective, held.inheritable) == (1 << 38, 1 << 5)


def test_empty_bounding_set() -> None:
    def inside() -> tuple[bool, int]:
        before = status().bounding
        credentials.empty_bounding_set()
        return before != 0, status().bounding

    assert run_as_root(inside).value == (True, 0)


def test_empty_bounding_set_needs_a_capability() -> None:
    def inside() -> None:
        credentials.clear_capabilities()
        credentials.empty_bounding_set()

    ended = run_as_root(inside)
    assert isinstance(ended.error, PrivilegeError)


def test_an_empty_bounding_set_needs_none() -> None:
    def inside() -> None:
        credentials.empty_bounding_set()
        credentials.clear_capabilities()
        credentials.empty_bounding_set()

    assert run_as_root(inside).code == 0


def test_a_bounding_set_that_stays_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(credentials, "prctl", lambda *_: 1)
    with pytest.raises(InternalError, match="capability 0 is still"):
        credentials.empty_bounding_set()


def test_capabilities_that_stay_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(credentials, "_capset", lambda _: None)
    monkeypatch.setattr(credentials, "read_capabilities", lambda: Capabilities(1, 1, 0))
    with pytest.raises(InternalError, match="capabilities are left"):
        credentials.clear_capabilities()


def test_a_refusal_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> int:
        ctypes.set_errno(errno.EPERM)
        return -1

    monkeypatch.setattr(credentials, "libc", SimpleNamespace(capget=refuse, capset=refuse))
    with pytest.raises(OperatingSystemError, match="Operation not permitted"):
        credentials.clear_capabilities()
    with pytest.raises(OperatingSystemError, match="Operation not permitted"):
        credentials.read_capabilities()


def test_resolve_user() -> None:
    entry = next(entry for entry in pwd.getpwall() if entry.pw_uid and entry.pw_gid)
    found = credentials.resolve_user(entry.pw_name)
    assert found == Identity(entry.pw_name, entry.pw_uid, entry.pw_gid)


@pytest.mark.parametrize("name", ["no-such-user-here", "", "nul\0inside"])
def test_no_such_user(name: str) -> None:
    with pytest.raises(ConfigurationError, match="useradd --system") as caught:
        credentials.resolve_user(name)
    assert caught.value.exit_code == 78


def test_root_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="'root' has uid 0"):
        credentials.resolve_user(pwd.getpwuid(0).pw_name)


def test_roots_group_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = SimpleNamespace(pw_name="x", pw_uid=5, pw_gid=0)
    monkeypatch.setattr(pwd, "getpwnam", lambda _: entry)
    with pytest.raises(ConfigurationError, match="uid 5 and gid 0"):
        credentials.resolve_user("x")


def test_resolve_group() -> None:
    entry = grp.getgrall()[0]
    assert credentials.resolve_group(entry.gr_name) == entry.gr_gid


def test_no_such_group() -> None:
    with pytest.raises(ConfigurationError, match="groupadd --system no-such-group"):
        credentials.resolve_group("no-such-group")
