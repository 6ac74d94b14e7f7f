"""What a daemon says about its sandbox: each value from its own source."""

from pathlib import Path
from typing import Any

from mailbell._sys.landlock import Landlock
from mailbell._sys.proof import ProcessStatus
from mailbell.interfaces.sandbox import Sandbox
from mailbell.logs.journal import Journal, Level
from mailbell.sandbox.lock import Confinement, Locked, Unprivileged
from mailbell.sandbox.policy_file import read_policy
from mailbell.sandbox.report import describe_sandbox, log_locked, uncovered

# Each number is another one, so none can stand in the place of another.
STATUS = ProcessStatus(
    uids=(11, 12, 13, 14),
    gids=(21, 22, 23, 24),
    groups=(31, 32),
    inheritable=0x1,
    permitted=0x20,
    effective=0x300,
    bounding=0x4000,
    ambient=0x50000,
    no_new_privs=True,
    seccomp=2,
    threads=7,
    tracer=0,
)
LANDLOCK = Landlock(
    abi=9, used=6, handled_fs=1, handled_net=2, scoped=3, flags=4, uncovered=("chdir", "stat")
)


def locked(*, writable_executable_denied: bool = True) -> Locked:
    policy = read_policy("mailbelld")
    confinement = Confinement(policy=policy, identity=None, open_files=1, status_file=-1)
    unprivileged = Unprivileged(confinement, LANDLOCK, writable_executable_denied)
    return Locked(unprivileged, policy, STATUS)


def test_the_status_has_what_the_kernel_said() -> None:
    assert describe_sandbox(locked()) == Sandbox(
        uid=11,
        gid=21,
        groups=(31, 32),
        capabilities="0000000000050321",
        no_new_privs=True,
        seccomp=2,
        threads=7,
        permitted_calls=len(read_policy("mailbelld").permitted),
        landlock_abi=9,
        landlock_used=6,
        landlock_uncovered=("chdir", "stat"),
    )


def test_the_log_has_who_it_is_and_both_versions_of_landlock() -> None:
    lines: list[str] = []
    log_locked(locked(), Journal(lines.append, lambda: 0.0, prefixed=True))
    who = "uid=11 gid=21 seccomp=2"
    landlock = "landlock_abi=6 landlock_of_kernel=9"
    assert lines == [f"<{Level.INFO.value}>event=locked {who} {landlock}"]


def test_what_no_second_layer_forbids_is_named() -> None:
    found = ("Landlock: chdir", "Landlock: stat")
    assert uncovered(locked().unprivileged) == found
    memory = "memory that is writable and executable: the filter alone forbids it"
    without = locked(writable_executable_denied=False).unprivileged
    assert uncovered(without) == (*found, memory)


def test_a_policy_of_another_program_has_another_number_of_calls(tmp_path: Path) -> None:
    """The number is that of the policy that is in force, not of the one that was asked for."""
    other: Any = read_policy("mailbell-sender")
    proven = Locked(locked().unprivileged, other, STATUS)
    assert describe_sandbox(proven).permitted_calls == len(other.permitted)
