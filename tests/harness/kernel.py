"""What this kernel offers, found by asking it.

The number of its version does not tell: distributions bring newer calls to older kernels.
"""

import errno
import os
import socket

__all__ = ["reads_sockets_without_waiting"]


def reads_sockets_without_waiting() -> bool:
    """Tell whether preadv2(2) takes RWF_NOWAIT for a socket, as it does from Linux 6.5 on."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        try:
            os.preadv(ours.fileno(), [bytearray(1)], -1, os.RWF_NOWAIT)
        except OSError as error:
            return error.errno != errno.EOPNOTSUPP
    return True
