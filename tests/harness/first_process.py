"""The first process of a mail server's machine: it reaps, keeps the log, and ends with the test.

    first_process.py LOG SOCKET

When it ends, the kernel ends every process of its namespace. It ends when standard input does,
so when the test ends, in whatever way.
"""

import os
import select
import socket
import sys


def main(log: str, path: str) -> None:
    """Serve /dev/log of the machine until standard input ends."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock, open(log, "ab", 0) as lines:
        sock.bind(path)
        os.chmod(path, 0o666)
        print("started", flush=True)
        while True:
            ready, _, _ = select.select([0, sock.fileno()], [], [], 0.5)
            if sock.fileno() in ready:
                lines.write(sock.recv(8192).rstrip(b"\0\n") + b"\n")
            if 0 in ready and not os.read(0, 1):
                return
            _reap()


def _reap() -> None:
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass


if __name__ == "__main__":
    main(*sys.argv[1:])
