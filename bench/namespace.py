"""A network namespace where whole networks are local, for more sources than 127.0.0.0/8 offers.

Making it needs root. An ordinary user can make one within a user namespace, but there the
daemon cannot change to another user.
"""

import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from bench.processes import end

__all__ = ["IPV6_HOST", "LOCAL", "namespace"]

IPV6_HOST: Final = "2001:db8::1"
LOCAL: Final = ("2001:db8::/32", "198.51.100.0/24", "64:ff9b::/96")
"""The networks. The last one has every IPv4 address, as a translator writes it (RFC 6052)."""

_ROUTES: Final = " &&\n".join(
    f"ip {'-6' if ':' in network else '-4'} route add local {network} dev lo" for network in LOCAL
)
# It reports that it is ready, and keeps the namespace until it is ended.
_SET_UP: Final = f"""
ip link set lo up &&
ip -6 address add {IPV6_HOST}/128 dev lo nodad &&
{_ROUTES} &&
echo ready && exec sleep infinity
"""
_PROGRAMS: Final = ("unshare", "nsenter", "ip", "sleep")


@contextmanager
def namespace() -> Iterator[Sequence[str] | None]:
    """Make a namespace until the end of the block.

    Yields:
        The command prefix that runs a command in it; None: it cannot be made here.
    """
    if os.geteuid() != 0 or not all(map(shutil.which, _PROGRAMS)):
        yield None
        return
    process = subprocess.Popen(
        ["unshare", "-n", "sh", "-c", _SET_UP],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        is_ready = process.stdout is not None and process.stdout.readline() == b"ready\n"
        yield ("nsenter", "-t", str(process.pid), "-n") if is_ready else None
    finally:
        end(process)
        if process.stdout is not None:
            process.stdout.close()
