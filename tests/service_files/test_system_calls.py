"""`SystemCallFilter=` lets the daemon start, lock itself in and serve, and permits little else."""

import os
import signal
import socket
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import pytest
from harness.activation import listening, passing
from harness.daemon import Daemon, configuration, ring, started, until
from harness.libseccomp import libseccomp
from harness.ordinary import as_nobody
from harness.sender import LINE, PATIENCE
from service_files.units import POLICY, calls, read

from mailbell.client import Client
from mailbell.syscalls.policy_toml import parse

SERVICE: Final = "mailbelld.service"
POLICY_OF_THE_LOCK: Final = parse((POLICY / "syscalls" / "mailbelld.toml").read_bytes())
# systemd.exec(5): always permitted if there is a list.
ALWAYS: Final = "@default"

# Sets of calls that the daemon does not need.
FAR_BEYOND: Final = (
    "@mount", "@debug", "@keyring", "@module", "@reboot", "@swap", "@clock", "@raw-io",
    "@obsolete", "@cpu-emulation", "@privileged", "@resources", "@chown", "@setuid", "@aio",
    "@pkey", "@memlock", "@sync",
)  # fmt: skip
NONE_OF: Final = {
    "makes no process or thread": {"fork", "vfork", "clone", "clone3", "execveat", "unshare",
                                   "setns"},
    "makes no listener": {"bind", "listen"},
    "says nothing to strangers": {"sendmsg", "sendmmsg"},
    "takes no descriptors": {"recvmsg", "recvmmsg", "pidfd_getfd"},
    "signals nobody by number": {"kill", "tkill", "rt_sigqueueinfo", "pidfd_send_signal"},
    "changes no file": {"creat", "mkdir", "mknod", "rename", "renameat2", "unlink", "unlinkat",
                        "chmod", "fchmodat", "link", "symlink", "truncate", "ftruncate",
                        "fallocate", "setxattr", "utimensat"},
    "does nothing in a new way": {"io_uring_setup", "userfaultfd", "memfd_secret", "bpf",
                                  "memfd_create", "perf_event_open", "ptrace", "process_vm_writev",
                                  "shmget"},
}  # fmt: skip
# The daemon tries to regain a capability, because the kernel must refuse it.
TRIED: Final = {"capset"}

Record = Callable[[str, object], None]


def permitted() -> frozenset[str]:
    groups = [ALWAYS, *read(SERVICE).words("Service.SystemCallFilter")]
    assert not any(word.startswith("~") for word in groups), "then the order would count"
    return frozenset().union(*map(calls, groups))


def exists(call: str) -> bool:
    """Return whether this architecture has the call."""
    number: int = libseccomp.resolve_syscall(libseccomp.Arch.NATIVE, call)
    return number >= 0


def test_all_that_the_lock_permits_is_permitted_around_it(record_property: Record) -> None:
    assert set(POLICY_OF_THE_LOCK.permitted) - permitted() == set()
    here = sum(map(exists, permitted()))
    assert len(POLICY_OF_THE_LOCK.permitted) < here < len(permitted())
    record_property("sandbox: calls permitted by the service file, before the lock", here)


def test_what_the_lock_refuses_with_an_error_is_not_a_death_around_it() -> None:
    """If two filters return an error, the error of the newer filter counts: seccomp(2)."""
    assert read(SERVICE).value("Service.SystemCallErrorNumber") == "EPERM"


@pytest.mark.parametrize("group", FAR_BEYOND)
def test_nothing_far_beyond_is_permitted(group: str) -> None:
    assert calls(group) & permitted() == set()


@pytest.mark.parametrize("names", NONE_OF.values(), ids=NONE_OF)
def test_it(names: set[str]) -> None:
    assert names <= calls("@known"), "else it would be misspelt, and never found"
    assert names & permitted() == set()


def test_every_word_is_a_call_or_a_set_that_systemd_knows() -> None:
    words = read(SERVICE).words("Service.SystemCallFilter")
    assert len(words) == len(set(words))
    unknown = [w for w in words if not w.startswith("@") and w not in calls("@known")]
    assert unknown == []


Sockets = dict[str, list[socket.socket]]


def passed(stack: ExitStack, directory: Path) -> Sockets:
    def made(family: int, kind: int, address: object) -> socket.socket:
        return stack.enter_context(listening(family, kind, address))

    four, six = (socket.AF_INET, ("127.0.0.1", 0)), (socket.AF_INET6, ("::1", 0))
    local = directory / "mailbell.sock"
    sockets = {
        "tcp": [made(family, socket.SOCK_STREAM, address) for family, address in (four, six)],
        "udp": [made(family, socket.SOCK_DGRAM, address) for family, address in (four, six)],
        "local": [made(socket.AF_UNIX, socket.SOCK_STREAM, str(local))],
    }
    local.chmod(0o666)  # the daemon may run as another user than the test
    return sockets


def a_whole_life(daemon: Daemon, sockets: Sockets) -> None:
    for sock in sockets["tcp"]:
        ring(sock.getsockname()[:2])
    ring(sockets["tcp"][0].getsockname(), b"alice\r\n")
    for sock in sockets["udp"]:
        with socket.socket(sock.family, socket.SOCK_DGRAM) as sender:
            sender.sendto(LINE, sock.getsockname()[:2])
    with Client(str(daemon.path)) as client, client.subscribe() as subscription:
        client.notify("default")
        assert subscription.next(PATIENCE).account == "default"
    until(lambda: daemon.counted("tcp") == {"accepted": 2, "finger_query": 1})
    until(lambda: daemon.counted("udp") == {"accepted": 2})
    daemon.process.send_signal(signal.SIGHUP)
    daemon.until_logged("event=reload_ignored")
    assert b"WATCHDOG=1" in daemon.told()


def ordinary(empty_path: Path) -> list[str]:
    """Return the user that a service manager runs the daemon as: any user without privileges."""
    return as_nobody(empty_path) if os.geteuid() == 0 else []


def test_a_daemon_lives_its_life_with_these_calls_and_no_others(
    open_path: Path, empty_path: Path
) -> None:
    """Here all other calls kill, even before the lock."""
    assert not TRIED & permitted()
    toml = configuration(open_path).replace("[socket]", '[socket]\nmode = "0666"')
    with ExitStack() as stack:
        sockets = passed(stack, open_path)
        command, descriptors = passing(sockets, permitted(), TRIED)
        with started(
            open_path, toml, command=[*ordinary(empty_path), *command], descriptors=descriptors,
            environ={"WATCHDOG_USEC": "200000"},
        ) as daemon:  # fmt: skip
            a_whole_life(daemon, sockets)
            assert daemon.kernel_says()["Seccomp_filters"] != "1"
            assert daemon.stop() == 0


@pytest.mark.parametrize("call", ["landlock_restrict_self", "socketpair", "getsockopt"])
def test_without_one_of_them_it_would_die(call: str, open_path: Path, empty_path: Path) -> None:
    """The counter-test: the outer filter is in force."""
    assert call in permitted()
    with ExitStack() as stack:
        sockets = passed(stack, open_path)
        command, descriptors = passing(sockets, permitted() - {call}, TRIED)
        with (
            pytest.raises(pytest.fail.Exception, match=r"ended|not ready"),
            started(open_path, command=[*ordinary(empty_path), *command],
                    descriptors=descriptors),
        ):  # fmt: skip
            pass
