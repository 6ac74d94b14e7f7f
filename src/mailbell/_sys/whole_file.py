"""Writes a file so that readers find either all of it or what was there before."""

import os
import tempfile

__all__ = ["replace_file"]


def replace_file(path: str, data: bytes, mode: int) -> None:
    """Write a file in the place of what is there, all of it or nothing.

    The new file gets its name when its bytes are on the disk. A link at the path is replaced,
    and what it leads to is not touched.

    Args:
        path: the path of the file. Its folder exists, and no other user can write to it.
        data: all that the file is to contain.
        mode: its permissions, whatever the umask is.

    Raises:
        OSError: the file cannot be written. It names the path. Nothing has changed.
    """
    folder, name = os.path.split(path)
    try:
        descriptor, temporary = tempfile.mkstemp(prefix=f".{name}.", dir=folder)
    except OSError as error:
        raise OSError(error.errno, error.strerror, path) from error
    try:
        with open(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fchmod(file.fileno(), mode)
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException as error:
        os.unlink(temporary)
        if isinstance(error, OSError):
            # The error of a full disk or of a limit has no file name.
            raise OSError(error.errno, error.strerror, path) from error
        raise
