"""The places where the client looks for the daemon's socket."""

import os

__all__ = ["SYSTEM_PATH", "Located", "default_path", "default_places"]

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
    return _likeliest(default_places())


def _likeliest(places: tuple[str, ...]) -> str:
    return next(filter(os.path.exists, places), places[-1])


class Located:
    """The place of the daemon, as far as a client knows it.

    Args:
        path: the only place; None: all of `default_places()`.
    """

    def __init__(self, path: str | None) -> None:
        self._places = default_places() if path is None else (path,)
        self._found: str | None = None

    @property
    def places(self) -> tuple[str, ...]:
        """The paths that the client tries, in this order, each time that it connects."""
        return self._places

    @property
    def path(self) -> str:
        """The path that was given, or else the one at which the daemon was last found.

        Before the daemon was found, this is the first of `places` that exists, else the
        last of them. A path that is set becomes the only place.
        """
        return self._found or _likeliest(self._places)

    @path.setter
    def path(self, path: str) -> None:
        self._places, self._found = (path,), None
