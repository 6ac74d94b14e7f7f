"""Where the daemon's socket is looked for."""

import os

__all__ = ["SYSTEM_PATH", "Located", "default_path", "default_places"]

SYSTEM_PATH = "/run/mailbell/mailbell.sock"


def default_places() -> tuple[str, ...]:
    """List every place where the daemon's socket may be.

    Returns:
        $MAILBELL_SOCKET alone, if it is set; else the system's socket, then the
        user's in $XDG_RUNTIME_DIR, in this order.
    """
    if path := os.environ.get("MAILBELL_SOCKET"):
        return (path,)
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    if not runtime.startswith("/"):  # The XDG specification: a relative path is ignored.
        return (SYSTEM_PATH,)
    return (SYSTEM_PATH, os.path.join(runtime, "mailbell", "mailbell.sock"))


def default_path() -> str:
    """Find the path of the local socket.

    It may be another one a moment later, when the daemon has started: a `Client`
    without a path looks in every place each time it connects.

    Returns:
        $MAILBELL_SOCKET; else the system's socket when it exists; else the
        user's, in $XDG_RUNTIME_DIR; else the system's, so that an error names it.
    """
    return _likeliest(default_places())


def _likeliest(places: tuple[str, ...]) -> str:
    return next(filter(os.path.exists, places), places[-1])


class Located:
    """What a client knows of the place of the daemon.

    Args:
        path: the only place; None: every one of `default_places()`.
    """

    def __init__(self, path: str | None) -> None:
        self._places = default_places() if path is None else (path,)
        self._found: str | None = None

    @property
    def places(self) -> tuple[str, ...]:
        """Where the client looks, in this order, each time that it connects."""
        return self._places

    @property
    def path(self) -> str:
        """The path that was given, or else the place where the daemon was found last.

        Before it was found: `default_path()` as it was set up when this client was
        made. Setting it makes this the only place.
        """
        return self._found or _likeliest(self._places)

    @path.setter
    def path(self, path: str) -> None:
        self._places, self._found = (path,), None
