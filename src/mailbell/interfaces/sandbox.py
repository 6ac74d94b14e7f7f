"""The state of a daemon's sandbox, as the status on each local socket tells it."""

import msgspec

__all__ = ["SANDBOX_TEXT", "Sandbox"]

SANDBOX_TEXT = """\
# The state of the sandbox, as the kernel reports it. landlock_abi is the version
# of Landlock in the kernel, landlock_used is the one in force.
type Sandbox (
  uid: int,
  gid: int,
  groups: []int,
  capabilities: string,
  no_new_privs: bool,
  seccomp: int,
  threads: int,
  permitted_calls: int,
  landlock_abi: int,
  landlock_used: ?int,
  landlock_uncovered: []string
)
"""
"""The type in Varlink's definition language."""


class Sandbox(msgspec.Struct, frozen=True, kw_only=True):
    """The lock-down, as the kernel reported it once it was in force.

    Attributes:
        uid: the user the daemon runs as.
        gid: its group.
        groups: its supplementary groups.
        capabilities: union of its capability sets, 16 hexadecimal digits (proc(5)).
        no_new_privs: whether executing a program can no longer add a privilege.
        seccomp: mode of seccomp(2); 2 is a filter.
        threads: number of threads under the filter.
        permitted_calls: number of system calls that the filter permits, some with conditions.
        landlock_abi: version of Landlock's ABI in the running kernel.
        landlock_used: version of the ABI in force, up to the newest that mailbell was tested
            with; None: the daemon is older than this client.
        landlock_uncovered: what the ABI in force cannot restrict, so that only the filter does.
    """

    uid: int
    gid: int
    groups: tuple[int, ...]
    capabilities: str
    no_new_privs: bool
    seccomp: int
    threads: int
    permitted_calls: int
    landlock_abi: int
    landlock_used: int | None = None
    landlock_uncovered: tuple[str, ...]
