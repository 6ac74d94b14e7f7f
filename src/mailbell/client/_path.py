"""Where the daemon's socket is."""

import os

__all__ = ["SYSTEM_PATH", "default_path"]

SYSTEM_PATH = "/run/mailbell/mailbell.sock"


def default_path() -> str:
    """Find the path of the local socket.

    Returns:
        $MAILBELL_SOCKET; else the system's socket when it exists; else the
        user's, in $XDG_RUNTIME_DIR; else the system's, so that an error names it.
    """
    if path := os.environ.get("MAILBELL_SOCKET"):
        return path
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    if runtime and not os.path.exists(SYSTEM_PATH):
        return os.path.join(runtime, "mailbell", "mailbell.sock")
    return SYSTEM_PATH
