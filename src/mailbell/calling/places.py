"""Where a client looks for its daemon, and where it found it."""

import os

__all__ = ["Located", "likeliest"]


def likeliest(places: tuple[str, ...]) -> str:
    """Return the first path that exists, else the last one.

    Args:
        places: paths, at least one.
    """
    return next(filter(os.path.exists, places), places[-1])


class Located:
    """The place of the daemon, as far as a client knows it.

    Args:
        places: the paths where it may be; at least one.
    """

    def __init__(self, places: tuple[str, ...]) -> None:
        self._places = places
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
        return self._found or likeliest(self._places)

    @path.setter
    def path(self, path: str) -> None:
        self._places, self._found = (path,), None
