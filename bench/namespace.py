"""A network namespace where all of 2001:db8::/32 is local, for more sources than IPv4 offers.

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

__all__ = ["IPV6_HOST", "namespace"]

IPV6_HOST: Final = "2001:db8::1"

# It reports that it is ready, and keeps the namespace until it is ended.
_SET_UP: Final = f"""
ip link set lo up &&
ip -6 address add {IPV6_HOST}/128 dev lo nodad &&
ip -6 route add local 2001:db8::/32 dev lo &&
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
