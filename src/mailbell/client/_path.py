"""The places where the client looks for the daemon's socket."""

import os

from mailbell.calling.places import likeliest

__all__ = ["SYSTEM_PATH", "default_path", "default_places"]

SYSTEM_PATH = "/run/mailbell/mailbell.sock"


def default_places() -> tuple[str, ...]:
    """List every place where the daemon's socket may be.

    Returns:
        $MAILBELL_SOCKET alone, if it is set. Otherwise the system's socket and then the
        user's socket in $XDG_RUNTIME_DIR.
    """
    if path := os.environ.get("MAILBELL_SOCKET"):
        return (path,)
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    if not runtime.startswith("/"):  # The XDG specification: a relative path is ignored.
        return (SYSTEM_PATH,)
    return (SYSTEM_PATH, os.path.join(runtime, "mailbell", "mailbell.sock"))


def default_path() -> str:
    """Find the path of the local socket.

    The result may change when a daemon starts. A `Client` that was given no path looks
    in every place each time that it connects.

    Returns:
        $MAILBELL_SOCKET, if it is set. Otherwise the first socket of `default_places`
        that exists. If none exists, the last of these places.
    """
    return likeliest(default_places())
