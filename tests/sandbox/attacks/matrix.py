"""Which layers stop which attack, and how: the expected results and their table.

test_each_layer.py compares the data with the kernel, layer by layer. table.py prints the table
in docs/sandbox.md from it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from sandbox.attacks.layers import KILLED, Layer

__all__ = ["EXPECTED", "Stop", "only_one_stops", "table"]


@dataclass(frozen=True)
class Stop:
    """A layer that stops an attack alone.

    Attributes:
        layer: its name.
        how: the name of the error, or `KILLED`.
        since: the first version of Landlock that stops it.
        setting: a file in /proc/sys that must be above zero for it.
        reliable: whether it does so on every kernel. If not, it counts as not stopped.
    """

    layer: Layer
    how: str
    since: int = 1
    setting: str = ""
    reliable: bool = True

    def __str__(self) -> str:
        version = f" {self.since}" if self.since > 1 else ""
        return f"{self.layer}{version}: {self.how}"


_DEAD: Final = Stop(Layer.FILTER, KILLED)
_SOFT: Final = Stop(Layer.FILTER, "EACCES")
_USER: Final = Stop(Layer.USER, "EPERM")
_OWNER: Final = Stop(Layer.USER, "EACCES")
_LANDLOCK: Final = Stop(Layer.LANDLOCK, "EACCES")
_DOMAIN: Final = Stop(Layer.LANDLOCK, "EPERM")
_TCP: Final = Stop(Layer.LANDLOCK, "EACCES", since=4)
_SCOPE: Final = Stop(Layer.LANDLOCK, "EPERM", since=6)
_UNIX: Final = Stop(Layer.LANDLOCK, "EACCES", since=9)
_UDP: Final = Stop(Layer.LANDLOCK, "EACCES", since=10)
_MEMORY: Final = Stop(Layer.MEMORY, "EACCES")
_PROCESSES: Final = Stop(Layer.LIMITS, "EAGAIN")
_NOT_LOCKED: Final = (Stop(Layer.FILTER, "EPERM"), Stop(Layer.SOCKETS, "EPERM"))

# In the order in which the kernel reaches them: the filter sees a call first.
EXPECTED: Final[dict[str, tuple[Stop, ...]]] = {
    "read a file": (_SOFT, _LANDLOCK),
    "read a file that only root may read": (_SOFT, _OWNER, _LANDLOCK),
    "list a directory": (_SOFT, _LANDLOCK),
    "look at a file (stat)": (_SOFT,),
    "create a file": (_SOFT, _LANDLOCK),
    "write to a file": (_SOFT, _LANDLOCK),
    "cut a file off (truncate)": (_DEAD, Stop(Layer.LANDLOCK, "EACCES", since=3)),
    "fill the disk": (_SOFT, _LANDLOCK),
    "delete a file": (_DEAD, _LANDLOCK),
    "make a directory": (_DEAD, _LANDLOCK),
    "change the mode of a file of its own": (_DEAD,),
    "change the mode of another's file": (_DEAD, _USER),
    "take another's file (chown)": (_DEAD, _USER),
    "change its own code through /proc/self/mem": (_SOFT, _OWNER, _LANDLOCK),
    "execute a program": (_DEAD, _LANDLOCK),
    "execute a program out of memory (memfd)": (_DEAD,),
    "memory both writable and executable (mmap)": (_DEAD, _MEMORY),
    "make written memory executable (mprotect)": (_DEAD, _MEMORY),
    "map a file executable": (_SOFT, _LANDLOCK),
    "map code out of memory executable (memfd)": (_DEAD,),
    "connect out by TCP (IPv4)": (_SOFT, _TCP),
    "connect out by TCP (IPv6)": (_SOFT, _TCP),
    # Some kernels took it for TCP, until that was recognised as a fault.
    "connect out by multipath TCP": (
        _SOFT,
        Stop(Layer.LANDLOCK, "EACCES", since=4, reliable=False),
    ),
    "send a datagram (IPv4)": (_SOFT, _UDP),
    "send a datagram (IPv6)": (_SOFT, _UDP),
    "send a datagram through a socket it has": (_DEAD, _UDP),
    "point a socket it has elsewhere (connect)": (_SOFT, _UDP),
    "connect to a Unix socket by path": (_SOFT, _UNIX),
    "connect to an abstract Unix socket": (_SOFT, _SCOPE),
    "listen anew on a port of its choice": (_SOFT, _TCP),
    "listen anew on a port of the kernel's choice": (_SOFT,),
    "take datagrams on a port of its choice": (_SOFT, _UDP),
    "raw packets": (_DEAD, _USER),
    "raw IP": (_SOFT, _USER),
    "ask the kernel about the network (netlink)": (_SOFT,),
    "take the packet filter off a listener (SO_DETACH_FILTER)": _NOT_LOCKED,
    "put another packet filter on a socket (SO_ATTACH_FILTER)": _NOT_LOCKED,
    "fork": (_DEAD, _PROCESSES),
    "fork bomb": (_DEAD, _PROCESSES),
    "vfork": (_DEAD, _PROCESSES),
    "start a thread": (_DEAD, _PROCESSES),
    "trace another process (ptrace)": (_DEAD, _DOMAIN),
    "read another process's memory (process_vm_readv)": (_DEAD, _DOMAIN),
    "look at another process (pidfd_open)": (_DEAD,),
    "take another process's descriptor (pidfd_getfd)": (_DEAD, _DOMAIN),
    "signal another process": (_DEAD, _SCOPE),
    "signal another user's process": (_DEAD, _USER, _SCOPE),
    "let others of its user trace it (PR_SET_DUMPABLE)": (_DEAD,),
    # Newer kernels count its memory as locked.
    "io_uring": (_DEAD, Stop(Layer.LIMITS, "ENOMEM", reliable=False)),
    "make a user namespace (unshare)": (_DEAD,),
    "make a user namespace (clone)": (_DEAD, _PROCESSES),
    "join a namespace (setns)": (_SOFT, _USER),
    "mount": (_DEAD, _DOMAIN, _USER),
    "change the root directory (chroot)": (_DEAD, _USER),
    "bpf": (_DEAD, Stop(Layer.USER, "EPERM", setting="kernel/unprivileged_bpf_disabled")),
    "watch the machine (perf_event_open)": (
        _DEAD,
        Stop(Layer.USER, "EACCES", setting="kernel/perf_event_paranoid"),
    ),
    "keep a key in the kernel (add_key)": (_DEAD,),
    "change the keyring (keyctl)": (_DEAD,),
    "handle page faults (userfaultfd)": (_DEAD,),
    "load a kernel module (init_module)": (_DEAD, _USER),
    "load a kernel module (finit_module)": (_SOFT, _LANDLOCK, _USER),
    "type into the terminal (TIOCSTI)": (Stop(Layer.FILTER, "ENOTTY"),),
    "become root again (setresuid)": (_DEAD, _USER),
    "take root's group (setresgid)": (_DEAD, _USER),
    "take groups (setgroups)": (_DEAD, _USER),
    "regain a capability (capset)": (_DEAD, _USER),
    "raise a limit again (prlimit)": (_DEAD, Stop(Layer.LIMITS, "EPERM")),
    "exhaust memory": (Stop(Layer.LIMITS, "ENOMEM"),),
    "exhaust memory that is shared": (_DEAD,),
    "lock memory": (_DEAD, Stop(Layer.LIMITS, "EPERM")),
    "exhaust descriptors": (_DEAD, Stop(Layer.LIMITS, "EBADF")),
}


def only_one_stops() -> list[str]:
    """Return the attacks that a single layer stops on every kernel."""
    return [name for name in EXPECTED if len(_reliable(name)) == 1]


def table() -> Iterator[str]:
    """Yield the lines of the table, in Markdown."""
    yield "| attack | stopped first by | and second by | and third by |"
    yield "| --- | --- | --- | --- |"
    for name in EXPECTED:
        stops = [*map(str, _reliable(name)), "", "", ""]
        yield f"| {' | '.join([name, *stops[:3]])} |".replace("  |", " |")


def _reliable(name: str) -> list[Stop]:
    return [stop for stop in EXPECTED[name] if stop.reliable]
